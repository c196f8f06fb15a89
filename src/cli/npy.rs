//! Arrays for NumPy: format 1.0 of `numpy.lib.format`, 32-bit floats in C order.

use std::io::{self, Write};

/// Writes a header and the values, of which there are as many as `shape` says.
pub fn write(out: &mut impl Write, shape: &[usize], values: &[f32]) -> io::Result<()> {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one has a comma.
    let comma = if axes.len() == 1 { "," } else { "" };
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}",
        axes.join(", ")
    );
    // Magic, version and length take 10 bytes; the values start at a multiple of 64.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let length = u16::try_from(padded).map_err(io::Error::other)?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&length.to_le_bytes())?;
    writeln!(out, "{header:<width$}", width = padded - 1)?;
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_start_at_a_multiple_of_64() {
        for shape in [&[2, 3][..], &[6]] {
            let mut out = Vec::new();
            write(&mut out, shape, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.5]).unwrap();
            let header = usize::from(u16::from_le_bytes([out[8], out[9]]));
            assert_eq!((10 + header) % 64, 0);
            assert_eq!(out.len(), 10 + header + 24);
            assert_eq!(out[10 + header - 1], b'\n');
            assert_eq!(out[out.len() - 4..], 5.5f32.to_le_bytes());
            let text = String::from_utf8_lossy(&out[10..10 + header]).into_owned();
            let tuple = if shape.len() == 2 { "(2, 3)" } else { "(6,)" };
            assert!(text.contains(&format!("'shape': {tuple}")), "{text}");
        }
    }
}
