//! A small SVG writer: a frame with two labelled axes, lines in it, a legend.

use std::fmt::Write;

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008), darkest first.
pub(super) const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];

const WIDTH: f64 = 720.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 58.0;
/// Height of a line of the legend.
const LINE: f64 = 18.0;

/// Values that the ends of an axis stand for, its label, and its ticks with their labels.
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub label: String,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// A plot in the making.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    width: f64,
    height: f64,
    body: String,
    legend: Vec<(String, usize)>,
}

impl Plot {
    /// An empty frame of `height` pixels with ticks and a grid.
    pub fn new(title: &str, x: Axis, y: Axis, height: f64) -> Self {
        let mut plot = Self {
            width: WIDTH - LEFT - 20.0,
            height,
            body: String::new(),
            legend: Vec::new(),
            x,
            y,
        };
        let (right, low) = (LEFT + plot.width, TOP + height);
        let mut body = text(LEFT + plot.width / 2.0, 26.0, "middle", 16.0, title);
        for (value, label) in &plot.x.ticks {
            let x = plot.across(*value);
            body += &line((x, TOP), (x, low), GRID);
            body += &text(x, low + 18.0, "middle", 12.0, label);
        }
        for (value, label) in &plot.y.ticks {
            let y = plot.down(*value);
            body += &line((LEFT, y), (right, y), GRID);
            body += &text(LEFT - 8.0, y + 4.0, "end", 12.0, label);
        }
        body += &text(
            LEFT + plot.width / 2.0,
            low + 42.0,
            "middle",
            14.0,
            &plot.x.label,
        );
        let middle = TOP + height / 2.0;
        let _ = write!(
            body,
            "<g transform=\"rotate(-90 20 {middle:.1})\">{}</g>",
            text(20.0, middle, "middle", 14.0, &plot.y.label)
        );
        let frame = format!(
            "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{height:.1}\"",
            plot.width
        );
        let _ = writeln!(
            body,
            "<clipPath id=\"frame\">{frame}/></clipPath>\n{frame} fill=\"none\" stroke=\"#333\"/>"
        );
        plot.body = body;
        plot
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * self.width
    }

    fn down(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.share(value)) * self.height
    }

    /// A thin dashed line between two points in values.
    pub fn guide(&mut self, from: (f64, f64), to: (f64, f64)) {
        let at = |p: (f64, f64)| (self.across(p.0), self.down(p.1));
        self.body += &line(at(from), at(to), "stroke=\"#666\" stroke-dasharray=\"5 4\"");
    }

    /// Words at a point in values, beside a guide.
    pub fn note(&mut self, at: (f64, f64), words: &str) {
        self.body += &text(
            self.across(at.0) + 5.0,
            self.down(at.1) + 14.0,
            "start",
            12.0,
            words,
        );
    }

    /// A line through points in values, clipped to the frame, in colour `colour`; `filled` shades what lies below it.
    pub fn curve(
        &mut self,
        points: impl IntoIterator<Item = (f64, f64)>,
        colour: usize,
        filled: bool,
    ) {
        let mut path = String::new();
        let mut last: Option<(f64, f64)> = None;
        for (x, y) in points {
            let at = (self.across(x), self.down(y));
            // A step too small to see would only make the file large.
            if last.is_some_and(|l| (l.0 - at.0).abs() < 0.3 && (l.1 - at.1).abs() < 0.3) {
                continue;
            }
            last = Some(at);
            let _ = write!(path, "{:.1},{:.1} ", at.0, at.1);
        }
        let (colour, dash) = style(colour);
        let fill = match filled {
            true => format!("fill=\"{colour}\" fill-opacity=\"0.12\""),
            false => "fill=\"none\"".to_owned(),
        };
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" {fill} stroke=\"{colour}\" stroke-width=\"2\"{dash} clip-path=\"url(#frame)\"/>",
            path.trim_end()
        );
    }

    /// A name for a colour, below the plot.
    pub fn name(&mut self, name: String, colour: usize) {
        self.legend.push((name, colour));
    }

    /// The document.
    pub fn finish(self) -> String {
        let height = TOP + self.height + BOTTOM + LINE * self.legend.len() as f64 + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"Helvetica, Arial, sans-serif\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        svg += &self.body;
        for (i, (name, colour)) in self.legend.iter().enumerate() {
            let y = TOP + self.height + BOTTOM + LINE * i as f64 + 8.0;
            let (colour, dash) = style(*colour);
            svg += &line(
                (LEFT, y),
                (LEFT + 28.0, y),
                &format!("stroke=\"{colour}\" stroke-width=\"3\"{dash}"),
            );
            svg += &text(LEFT + 36.0, y + 4.0, "start", 13.0, name);
        }
        svg + "</svg>\n"
    }
}

const GRID: &str = "stroke=\"#ddd\"";

/// Colours repeat after the last, dashed.
fn style(index: usize) -> (&'static str, &'static str) {
    let dash = if index < COLOURS.len() {
        ""
    } else {
        " stroke-dasharray=\"7 3\""
    };
    (COLOURS[index % COLOURS.len()], dash)
}

fn line(from: (f64, f64), to: (f64, f64), how: &str) -> String {
    format!(
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {how}/>\n",
        from.0, from.1, to.0, to.1
    )
}

fn text(x: f64, y: f64, anchor: &str, size: f64, words: &str) -> String {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // Control characters are not allowed in XML, and a list may hold any.
    let words = words.replace(char::is_control, " ");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"#222\">{words}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis() -> Axis {
        Axis {
            low: 0.0,
            high: 10.0,
            label: "a < b & c".into(),
            ticks: vec![(0.0, "0".into()), (10.0, "10".into())],
        }
    }

    #[test]
    fn words_are_escaped_and_lines_are_clipped() {
        let mut plot = Plot::new("t\u{1}", axis(), axis(), 400.0);
        plot.curve([(-5.0, 5.0), (20.0, 5.0)], 9, true);
        plot.name("<x>".into(), 0);
        let svg = plot.finish();
        assert!(
            svg.contains("a &lt; b &amp; c") && svg.contains("&lt;x&gt;") && !svg.contains('\u{1}')
        );
        assert!(
            svg.contains("points=\"-245.0,244.0 1330.0,244.0\""),
            "{svg}"
        );
        assert!(svg.contains("clip-path=\"url(#frame)\""), "{svg}");
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }
}
