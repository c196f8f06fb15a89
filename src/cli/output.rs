//! Results on standard output: lines and tables for people, JSON objects for programs.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

use super::outcome::Failure;

/// Colours with a meaning. They reach terminals only: `anstream` strips them elsewhere and where `NO_COLOR` is set.
pub mod style {
    use anstyle::{AnsiColor, Style};

    /// Accepted, in order.
    pub const GOOD: Style = AnsiColor::Green.on_default().bold();
    /// Undecided, worth a look.
    pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
    /// Rejected, failed.
    pub const BAD: Style = AnsiColor::Red.on_default().bold();
    /// What is read last.
    pub const FAINT: Style = Style::new().dimmed();
    /// Headings.
    pub const HEAD: Style = Style::new().bold();
}

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Results as JSON or for people.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the caller asked for JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line for people; may hold styles from [`style`].
    ///
    /// # Errors
    /// [`Failure::ReaderGone`] when standard output is closed, [`Failure::Runtime`] when it cannot be written.
    pub fn line(&self, text: impl Display) -> Result<(), Failure> {
        written(writeln!(anstream::stdout().lock(), "{text}"))
    }

    /// One JSON object on a line of its own.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn record<T: Serialize>(&self, record: &T) -> Result<(), Failure> {
        let line = serde_json::to_string(record).map_err(Failure::runtime)?;
        written(writeln!(io::stdout().lock(), "{line}"))
    }

    /// A result: the record for programs, or the text for people.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn result<T: Serialize>(
        &self,
        record: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.record(record)
        } else {
            self.line(text())
        }
    }

    /// Columns as wide as their widest cell, the heading on top. A cell's style does not count to its width.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn table(&self, head: &[&str], rows: &[Vec<Cell>]) -> Result<(), Failure> {
        written(write!(anstream::stdout().lock(), "{}", render(head, rows)))
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn flush(&self) -> Result<(), Failure> {
        written(io::stdout().flush())
    }
}

/// A table's cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    style: anstyle::Style,
}

impl Cell {
    /// Plain text.
    pub fn new(text: impl Display) -> Self {
        Self::styled(text, anstyle::Style::new())
    }

    /// Text in a style.
    pub fn styled(text: impl Display, style: anstyle::Style) -> Self {
        // A line break in a device's name would tear the table.
        let text = text.to_string().replace(char::is_control, " ");
        Self { text, style }
    }
}

fn render(head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut lines = vec![
        head.iter()
            .map(|text| Cell::styled(text, style::HEAD))
            .collect(),
    ];
    lines.extend_from_slice(rows);
    let width = |cell: &Cell| cell.text.chars().count();
    let mut widths = vec![0; head.len()];
    for line in &lines {
        for (widest, cell) in widths.iter_mut().zip(line) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let last = line.len().saturating_sub(1);
        for (i, (cell, widest)) in line.iter().zip(&widths).enumerate() {
            let style = cell.style;
            text.push_str(&format!("{style}{}{style:#}", cell.text));
            if i < last {
                text.push_str(&" ".repeat(widest - width(cell) + 2));
            }
        }
        text.push('\n');
    }
    text
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ReaderGone),
        Err(error) => Err(Failure::Runtime(
            anyhow::Error::new(error).context("cannot write to standard output"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters_and_ignore_styles() {
        let rows = [
            vec![
                Cell::new("küche"),
                Cell::styled("ok", style::GOOD),
                Cell::new("x"),
            ],
            vec![Cell::new("a\nb"), Cell::new("failed"), Cell::new("y")],
        ];
        let text =
            anstream::adapter::strip_str(&render(&["id", "state", "why"], &rows)).to_string();
        assert_eq!(
            text,
            "id     state   why\nküche  ok      x\na b    failed  y\n"
        );
    }
}
