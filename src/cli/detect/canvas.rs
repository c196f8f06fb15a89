//! A picture in the making: rectangles, lines and words on RGB pixels, out as PNG.

use anyhow::Context;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Where words stand in relation to the point that they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// They begin there.
    Start,
    /// They lie around it.
    Middle,
    /// They end there.
    End,
}

/// Letters of one size.
#[derive(Debug, Clone, Copy)]
pub struct Font {
    weight: FontWeight,
    size: RasterHeight,
}

/// Of most words.
pub const PLAIN: Font = Font {
    weight: FontWeight::Regular,
    size: RasterHeight::Size16,
};
/// Of the heading.
pub const HEAD: Font = Font {
    weight: FontWeight::Bold,
    size: RasterHeight::Size20,
};

impl Font {
    /// Pixels that so many letters take.
    pub fn width(self, letters: usize) -> usize {
        letters * get_raster_width(self.weight, self.size)
    }
}

/// Pixels, row by row from the top. What lies outside is not drawn.
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// All white.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![[255; 3]; width * height],
        }
    }

    /// Lays a colour over a pixel; `cover` 0 leaves it as it was, 1 hides it.
    pub fn blend(&mut self, x: usize, y: usize, colour: Colour, cover: f64) {
        if x >= self.width || y >= self.height {
            return;
        }
        let pixel = &mut self.pixels[y * self.width + x];
        for (old, new) in pixel.iter_mut().zip(colour) {
            let mixed =
                f64::from(*old) + cover.clamp(0.0, 1.0) * (f64::from(new) - f64::from(*old));
            *old = mixed.round() as u8;
        }
    }

    /// Lays a colour over a rectangle.
    pub fn area(&mut self, [x, y, width, height]: [usize; 4], colour: Colour, cover: f64) {
        for y in y..y + height {
            for x in x..x + width {
                self.blend(x, y, colour, cover);
            }
        }
    }

    /// The outline of a rectangle.
    pub fn frame(&mut self, [x, y, width, height]: [usize; 4], colour: Colour) {
        self.area([x, y, width, 1], colour, 1.0);
        self.area([x, y + height - 1, width, 1], colour, 1.0);
        self.area([x, y, 1, height], colour, 1.0);
        self.area([x + width - 1, y, 1, height], colour, 1.0);
    }

    /// A straight line about two pixels thick.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1e-9);
        let range = |a: f64, b: f64| {
            let low = (a.min(b) - 2.0).max(0.0) as usize;
            low..(a.max(b) + 3.0).max(0.0) as usize
        };
        for y in range(from.1, to.1) {
            for x in range(from.0, to.0) {
                let (px, py) = (x as f64 - from.0, y as f64 - from.1);
                let along = ((px * dx + py * dy) / (length * length)).clamp(0.0, 1.0);
                let away = (px - along * dx).hypot(py - along * dy);
                self.blend(x, y, colour, 1.5 - away);
            }
        }
    }

    /// Words, `y` their upper edge.
    pub fn words(
        &mut self,
        (x, y): (usize, usize),
        anchor: Anchor,
        font: Font,
        colour: Colour,
        words: &str,
    ) {
        self.letters(anchor, font, words, |canvas, across, down, cover| {
            if let Some(x) = x.checked_add_signed(across) {
                canvas.blend(x, y + down, colour, cover);
            }
        });
    }

    /// Words that are read from below, `x` their left edge.
    pub fn upright(&mut self, (x, y): (usize, usize), anchor: Anchor, colour: Colour, words: &str) {
        self.letters(anchor, PLAIN, words, |canvas, across, down, cover| {
            if let Some(y) = y.checked_add_signed(-across) {
                canvas.blend(x + down, y, colour, cover);
            }
        });
    }

    /// Shows each pixel of words to `put`: how far along from the anchor, how far down, how dark.
    fn letters(
        &mut self,
        anchor: Anchor,
        font: Font,
        words: &str,
        mut put: impl FnMut(&mut Self, isize, usize, f64),
    ) {
        let width = font.width(words.chars().count());
        let mut at = match anchor {
            Anchor::Start => 0,
            Anchor::Middle => -(width as isize / 2),
            Anchor::End => -(width as isize),
        };
        for letter in words.chars() {
            let raster = get_raster(letter, font.weight, font.size);
            let raster = raster.or_else(|| get_raster('?', font.weight, font.size));
            for (down, row) in raster.iter().flat_map(|r| r.rows().enumerate()) {
                for (across, ink) in row.iter().enumerate() {
                    put(self, at + across as isize, down, f64::from(*ink) / 255.0);
                }
            }
            at += font.width(1) as isize;
        }
    }

    /// The file's bytes.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let side = |pixels: usize| u32::try_from(pixels).context("a picture too large");
        let mut encoder = png::Encoder::new(&mut bytes, side(self.width)?, side(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dark(canvas: &Canvas) -> Vec<(usize, usize)> {
        let pixels = canvas.pixels.iter().enumerate();
        let dark = pixels.filter(|(_, p)| p[0] < 128);
        dark.map(|(i, _)| (i % canvas.width, i / canvas.width))
            .collect()
    }

    #[test]
    fn words_lie_where_their_anchor_says_and_letters_without_a_raster_are_marked() {
        let across = |anchor| {
            let mut canvas = Canvas::new(100, 40);
            canvas.words((50, 10), anchor, PLAIN, [0; 3], "abc");
            let dark = dark(&canvas);
            assert!(dark.iter().all(|(_, y)| (10..26).contains(y)));
            dark.iter().map(|(x, _)| *x).min().unwrap()
                ..=dark.iter().map(|(x, _)| *x).max().unwrap()
        };
        assert!(*across(Anchor::Start).start() >= 50);
        assert!(*across(Anchor::End).end() < 50);
        assert!(across(Anchor::Middle).contains(&50));
        let mark = |words: &str| {
            let mut canvas = Canvas::new(100, 40);
            canvas.words((10, 10), Anchor::Start, PLAIN, [0; 3], words);
            dark(&canvas)
        };
        assert_eq!(mark("語"), mark("?"));
    }

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let mut canvas = Canvas::new(20, 20);
        canvas.words((0, 15), Anchor::End, HEAD, [0; 3], "long words");
        canvas.upright((15, 5), Anchor::Start, [0; 3], "long words");
        canvas.line((-5.0, -5.0), (40.0, 40.0), [0; 3]);
        canvas.area([15, 15, 50, 50], [0; 3], 1.0);
        assert!(dark(&canvas).contains(&(10, 10)) && dark(&canvas).contains(&(19, 19)));
    }

    #[test]
    fn the_file_holds_the_pixels() {
        let mut canvas = Canvas::new(7, 5);
        canvas.area([2, 1, 1, 1], [10, 20, 30], 1.0);
        canvas.area([3, 1, 1, 1], [0, 0, 0], 0.5);
        let bytes = canvas.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (7, 5));
        assert_eq!(
            pixels[3 * (7 + 2)..3 * (7 + 4)],
            [10, 20, 30, 128, 128, 128]
        );
    }
}
