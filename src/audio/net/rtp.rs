//! One RTP packet (RFC 3550, section 5.1), and the length of an Opus packet (RFC 6716, section 3.1). No I/O.

/// A datagram's header and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtp<'d> {
    /// 0 to 127.
    pub payload_type: u8,
    /// Set on the first packet after silence.
    pub marker: bool,
    /// Counts packets, and wraps.
    pub sequence: u16,
    /// Of the first sample, in ticks of the payload's clock; wraps.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
    /// Padding left out.
    pub payload: &'d [u8],
}

/// Why a datagram is no RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Something else than version 2.
    #[error("expected RTP version 2, found {0}")]
    Version(u8),
    /// RTCP, which belongs on a port of its own.
    #[error("expected RTP, found RTCP; send it to the next port")]
    Control,
    /// Shorter than its header says.
    #[error("expected at least {expected} bytes, found {found}")]
    Short {
        /// As the header says.
        expected: usize,
        /// In the datagram.
        found: usize,
    },
}

/// Reads a datagram.
///
/// # Errors
/// [`RtpError`].
pub fn parse(datagram: &[u8]) -> Result<Rtp<'_>, RtpError> {
    let found = datagram.len();
    let need = |expected: usize| match expected <= found {
        true => Ok(()),
        false => Err(RtpError::Short { expected, found }),
    };
    need(12)?;
    let (first, second) = (datagram[0], datagram[1]);
    if first >> 6 != 2 {
        return Err(RtpError::Version(first >> 6));
    }
    // Their types, with the marker's bit, lie where no RTP payload type may.
    if (192..=223).contains(&second) {
        return Err(RtpError::Control);
    }
    let mut start = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        need(start + 4)?;
        let words = u16::from_be_bytes([datagram[start + 2], datagram[start + 3]]);
        start += 4 + 4 * usize::from(words);
    }
    need(start)?;
    let mut end = found;
    if first & 0x20 != 0 {
        let padding = usize::from(datagram[found - 1]);
        need(start + padding.max(1))?;
        end -= padding.max(1);
    }
    let word = |at: usize| {
        let bytes = [
            datagram[at],
            datagram[at + 1],
            datagram[at + 2],
            datagram[at + 3],
        ];
        u32::from_be_bytes(bytes)
    };
    Ok(Rtp {
        payload_type: second & 0x7f,
        marker: second & 0x80 != 0,
        sequence: u16::from_be_bytes([datagram[2], datagram[3]]),
        timestamp: word(4),
        ssrc: word(8),
        payload: &datagram[start..end],
    })
}

/// Samples a channel, at 48 kHz, that an Opus packet decodes to; `None` for no Opus packet.
#[must_use]
pub fn opus_frames(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = usize::from(toc >> 3);
    let each = match config {
        0..=11 => [480, 960, 1_920, 2_880][config % 4],
        12..=15 => [480, 960][config % 2],
        _ => [120, 240, 480, 960][config % 4],
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    // 120 ms is the most that a packet may hold.
    Some(each * count).filter(|frames| (1..=5_760).contains(frames))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_with_everything_in_it_is_read() {
        // Padding, extension, one contributing source, marker, type 96.
        let mut datagram = vec![0xb1, 0xe0, 0x12, 0x34, 0, 0, 1, 0, 0xde, 0xad, 0xbe, 0xef];
        datagram.extend([9, 9, 9, 9]);
        datagram.extend([0, 0, 0, 1, 7, 7, 7, 7]);
        datagram.extend([1, 2, 3, 4, 0, 2]);
        let rtp = parse(&datagram).unwrap();
        assert_eq!(
            (rtp.payload_type, rtp.marker, rtp.sequence),
            (96, true, 0x1234)
        );
        assert_eq!((rtp.timestamp, rtp.ssrc), (256, 0xdead_beef));
        assert_eq!(rtp.payload, [1, 2, 3, 4]);
        for end in 0..25 {
            let cut = &datagram[..end];
            assert!(
                matches!(parse(cut), Err(RtpError::Short { .. })) || end > 24,
                "{end}"
            );
        }
    }

    #[test]
    fn what_is_no_rtp_is_refused() {
        assert_eq!(parse(&[0; 12]), Err(RtpError::Version(0)));
        let mut report = [0; 28];
        (report[0], report[1]) = (0x80, 200);
        assert_eq!(parse(&report), Err(RtpError::Control));
        // More padding than there is.
        let mut padded = [0; 13];
        (padded[0], padded[12]) = (0xa0, 200);
        assert!(matches!(parse(&padded), Err(RtpError::Short { .. })));
    }

    #[test]
    fn opus_lengths_follow_the_first_bytes() {
        assert_eq!(opus_frames(&[]), None);
        // 20 ms, one frame; 2.5 ms, two; 60 ms, three are too many.
        assert_eq!(opus_frames(&[0b0000_1000]), Some(960));
        assert_eq!(opus_frames(&[0b1000_0001]), Some(240));
        assert_eq!(opus_frames(&[0b0001_1011, 3]), None);
        assert_eq!(opus_frames(&[0b0001_1011, 2]), Some(5_760));
        assert_eq!(opus_frames(&[0b0001_1011]), None);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(datagram in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(rtp) = parse(&datagram) {
                prop_assert!(rtp.payload.len() + 12 <= datagram.len());
                let _ = opus_frames(rtp.payload);
            }
        }

        #[test]
        fn what_is_written_is_read(
            payload_type in 96u8..128, marker: bool, sequence: u16, timestamp: u32, ssrc: u32,
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut datagram = vec![0x80, payload_type | u8::from(marker) << 7];
            datagram.extend(sequence.to_be_bytes());
            datagram.extend(timestamp.to_be_bytes());
            datagram.extend(ssrc.to_be_bytes());
            datagram.extend(&payload);
            let expected = Rtp { payload_type, marker, sequence, timestamp, ssrc, payload: &payload };
            prop_assert_eq!(parse(&datagram), Ok(expected));
        }
    }
}
