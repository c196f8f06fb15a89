//! Raw PCM by TCP: whoever connects sends frames in the configured layout, and nothing else.

use std::net::SocketAddr;

use crate::config::{Input, Pcm};

use super::super::check_format;
use super::super::open::{Context, Kind, Opened};
use super::super::pcm::PcmParser;
use super::super::reader::{format_packet, parse};
use super::server::{Peer, Said, Server};

pub(in super::super) const KIND: Kind = Kind {
    name: "tcp",
    open: |input, context| match input {
        Input::Tcp { listen, pcm } => Some(open(*listen, *pcm, context)),
        _ => None,
    },
};

fn open(listen: SocketAddr, pcm: Pcm, context: &Context<'_>) -> Opened {
    check_format(context.stream, pcm.rate, pcm.channels)?;
    let server = Server::start(context.stream, listen, move || Raw::new(pcm))?;
    Ok(Box::new(server))
}

/// One connection.
pub(super) struct Raw {
    pcm: Pcm,
    parser: PcmParser,
    announced: bool,
}

impl Raw {
    pub(super) fn new(pcm: Pcm) -> Self {
        Self {
            pcm,
            parser: PcmParser::new(&pcm),
            announced: false,
        }
    }
}

impl Peer for Raw {
    fn take(&mut self, bytes: &[u8], said: &mut Said) -> Result<(), String> {
        if let Some(message) = parse(&mut self.parser, bytes) {
            if !std::mem::replace(&mut self.announced, true) {
                said.messages.push(format_packet(&self.pcm).into());
            }
            said.messages.push(message);
        }
        Ok(())
    }

    /// There are no words in raw PCM.
    fn refusal(&self, _: &str) -> Vec<u8> {
        Vec::new()
    }

    fn leftover(&self) -> usize {
        self.parser.leftover()
    }

    fn format(&self) -> Option<(u32, u16)> {
        Some((self.pcm.rate, self.pcm.channels))
    }
}
