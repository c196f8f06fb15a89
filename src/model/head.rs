//! A head that reads nothing but hidden states, asked of many windows.

use super::batch::{Sizes, batched};
use super::calls::{Answers, rows_of};
use super::cut::Cutter;
use super::hidden::Hidden;
use super::net::{Given, Net};
use super::repeat::Repeat;

/// The head, and how it is asked.
pub(super) struct Head<'m> {
    pub net: &'m Net,
    pub cutter: &'m Cutter,
    pub sizes: Sizes,
    pub repeat: Repeat,
}

impl<'m> Head<'m> {
    /// One that is asked of whole windows, as long as they are.
    pub fn of_windows(net: &'m Net, cutter: &'m Cutter, sizes: Sizes) -> Self {
        Self {
            net,
            cutter,
            sizes,
            repeat: Repeat::default(),
        }
    }

    /// The `width` values that it says of each window.
    pub fn ask(
        &self,
        prepared: Answers<((usize, usize), Hidden)>,
        retried: &mut u64,
        width: usize,
    ) -> Answers<Vec<f32>> {
        let prepared = prepared.into_iter().map(|window| {
            let ((batch, own), hidden) = window?;
            let length = self.repeat.vectors(own);
            Ok(((batch, length), (length, hidden)))
        });
        batched(prepared.collect(), retried, |group| {
            let size = self.sizes.of(group.len());
            let hidden: Vec<&Hidden> = group.iter().map(|(_, hidden)| hidden).collect();
            let cut = self.cutter.cut(&hidden, size, group[0].0)?;
            let inputs = [Given::Tensor(cut.tensor())];
            self.net.run(&inputs, &[size, width], |values| {
                rows_of(values, width, group.len())
            })
        })
    }
}
