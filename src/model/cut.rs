//! Cutting spans out of hidden states, and checking them, on the device where they lie: two little graphs of our own,
//! which `models/recipes/cut.py` writes.

use std::sync::Arc;
use std::time::Instant;

use ndarray::s;
use ort::memory::MemoryInfo;
use ort::value::{DynValue, Tensor, TensorRef, TensorValueType};

use super::error::ModelError;
use super::hidden::{Hidden, States};
use super::net::not_finite;
use super::part::Part;
use super::place::Place;
use super::plans::Shared;
use super::repeat::turns;
use super::runtime::{Runtime, chain};
use super::spent::Spent;

const CUT: &[u8] = include_bytes!("cut.onnx");
const FINITE: &[u8] = include_bytes!("finite.onnx");

/// The sessions of the two graphs, on the device of the heads. A clone has the same ones.
#[derive(Clone)]
pub(super) struct Cutter {
    cut: Shared,
    finite: Shared,
    memory: MemoryInfo<'static>,
    /// How long both take on a device: cutting, checking.
    pub spent: [Arc<Spent>; 2],
}

/// What heads read of several windows, `[windows, layers, vectors, dim]`.
pub(super) enum Cut {
    /// The encoder's batch as it is.
    Whole(Arc<States>),
    /// Spans of it.
    Part(Tensor<f32>),
}

impl Cut {
    pub fn tensor(&self) -> &Tensor<f32> {
        match self {
            Self::Whole(states) => &states.tensor,
            Self::Part(tensor) => tensor,
        }
    }
}

impl Cutter {
    pub fn open(runtime: &Runtime, place: &Place) -> Result<Self, ModelError> {
        let open = |bytes| {
            let session = place.builder(runtime)?.commit_from_memory(bytes);
            session.map_err(|e| match place.device.is_gpu() {
                true => place.failed(chain(&e)),
                false => failed(&e),
            })
        };
        Ok(Self {
            cut: Shared::new(open(CUT)?),
            finite: Shared::new(open(FINITE)?),
            memory: place.memory().map_err(|e| failed(&e))?,
            spent: Default::default(),
        })
    }

    /// What heads read of spans of one batch, in their order, `length` vectors of each: what has fewer is repeated, and its end
    /// stays the end. Then the last span again, until there are `size`.
    pub fn cut(&self, hidden: &[&Hidden], size: usize, length: usize) -> Result<Cut, ModelError> {
        let Some(first) = hidden.first() else {
            return Err(unfit("no hidden states"));
        };
        let states = &first.states;
        let fit = |h: &&Hidden| Arc::ptr_eq(&h.states, states) && h.vectors.len() <= length;
        if !hidden.iter().all(fit) {
            return Err(unfit("spans of several batches, or longer ones"));
        }
        let [batch, _, vectors, _] = states.shape;
        let in_order = |(i, h): (usize, &&Hidden)| h.item == i && h.vectors.len() == length;
        let is_whole = length == vectors && size == batch;
        if is_whole && hidden.iter().enumerate().all(in_order) {
            // Behind the last span lies what nobody asks for.
            return Ok(Cut::Whole(states.clone()));
        }
        let last = hidden.len() - 1;
        let filled = (0..size.max(hidden.len())).map(|i| hidden[i.min(last)]);
        let spans: Vec<&Hidden> = filled.collect();
        let cut = match states.is_at_hand() {
            true => copied(states, &spans, length),
            false => self.on_device(states, &spans, length),
        };
        Ok(Cut::Part(cut?))
    }

    /// The same without the host's seeing them.
    fn on_device(
        &self,
        states: &States,
        spans: &[&Hidden],
        length: usize,
    ) -> Result<Tensor<f32>, ModelError> {
        let windows = spans.len();
        let item: Vec<i64> = spans.iter().map(|span| span.item as i64).collect();
        let vectors = spans.iter().flat_map(|span| rows(span, length));
        let vectors: Vec<i64> = vectors.map(|vector| vector as i64).collect();
        let asked = Instant::now();
        let mut session = self.cut.hold();
        let began = Instant::now();
        let cut = || -> ort::Result<Tensor<f32>> {
            let mut binding = session.create_binding()?;
            binding.bind_input("hidden", &states.tensor)?;
            binding.bind_input("item", &Tensor::from_array(([windows], item))?)?;
            let vectors = Tensor::from_array(([windows, length], vectors))?;
            binding.bind_input("vector", &vectors)?;
            binding.bind_output_to_device("cut", &self.memory)?;
            take(session.run_binding(&binding)?.remove("cut"))
        };
        let cut = cut().map_err(|e| failed(&e))?;
        self.spent[0].add(asked, began);
        Ok(cut)
    }

    /// Whether every value is a finite number, without fetching them where the host cannot see them.
    pub fn check(&self, states: &States) -> Result<(), ModelError> {
        let found = match states.is_at_hand() {
            true => not_finite(states.values()?.as_slice().unwrap_or_default()),
            false => self.sums(states)?.into_iter().find(|zero| *zero != 0.0),
        };
        match found {
            None => Ok(()),
            Some(found) => Err(ModelError::Output {
                part: Part::Encoder,
                expected: "finite values",
                found,
            }),
        }
    }

    /// A zero for each window whose values are all finite, otherwise not a number.
    fn sums(&self, states: &States) -> Result<Vec<f32>, ModelError> {
        let asked = Instant::now();
        let mut session = self.finite.hold();
        let began = Instant::now();
        let mut run = || -> ort::Result<Vec<f32>> {
            let outputs = session.run(ort::inputs!["hidden" => &states.tensor])?;
            Ok(outputs[0].try_extract_tensor::<f32>()?.1.to_vec())
        };
        let zeros = run().map_err(|e| failed(&e))?;
        self.spent[1].add(asked, began);
        // Whatever is not zero is told as what it stands for.
        Ok(zeros
            .into_iter()
            .map(|z| if z == 0.0 { 0.0 } else { f32::NAN })
            .collect())
    }
}

/// The vectors of its batch that a span of this length has.
fn rows(span: &Hidden, length: usize) -> impl Iterator<Item = usize> {
    let first = span.vectors.start;
    turns(span.vectors.len(), length).map(move |vector| first + vector)
}

/// Copied by the host: a layer's vectors lie behind each other.
fn copied(states: &States, spans: &[&Hidden], length: usize) -> Result<Tensor<f32>, ModelError> {
    let (all, [_, layers, _, dim]) = (states.values()?, states.shape);
    let shape = [spans.len(), layers, length, dim];
    let mut values = Vec::with_capacity(shape.iter().product());
    for span in spans {
        for layer in 0..layers {
            let layer = all.slice(s![span.item, layer, .., ..]);
            let layer = layer.to_slice().unwrap_or_default();
            match span.vectors.len() == length {
                true => {
                    let at = span.vectors.start * dim..span.vectors.end * dim;
                    values.extend_from_slice(&layer[at]);
                }
                false => rows(span, length)
                    .for_each(|row| values.extend_from_slice(&layer[row * dim..(row + 1) * dim])),
            }
        }
    }
    Tensor::from_array((shape, values)).map_err(|e| failed(&e))
}

/// The tensor that a bound output became.
pub(super) fn take(value: Option<DynValue>) -> ort::Result<Tensor<f32>> {
    let value = value.ok_or_else(|| ort::Error::new("a bound output is not there"))?;
    value.downcast::<TensorValueType<f32>>()
}

fn failed(error: &ort::Error) -> ModelError {
    ModelError::Run {
        part: Part::Encoder,
        reason: format!("its hidden states cannot be handled: {}", chain(error)),
    }
}

fn unfit(found: &str) -> ModelError {
    ModelError::Input {
        part: Part::Encoder,
        expected: "spans of one batch, at most as long as they become".into(),
        found: found.into(),
    }
}

/// A borrowed tensor: of the host's memory.
pub(super) fn host<'a>(shape: &'a [usize], data: &'a [f32]) -> ort::Result<TensorRef<'a, f32>> {
    TensorRef::from_array_view((shape, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter() -> Cutter {
        let place = Place::host();
        let runtime = Runtime::load(None).expect("the library that `make test` fetches");
        Cutter::open(runtime, &place).expect("our own graphs")
    }

    /// Three windows of two layers, five vectors and four values; value = its place.
    fn hidden(broken: Option<f32>) -> Vec<Hidden> {
        let mut values: Vec<f32> = (0..3 * 2 * 5 * 4).map(|i| i as f32).collect();
        if let Some(broken) = broken {
            values[50] = broken;
        }
        let shape = [3, 2, 5, 4];
        let tensor = Tensor::from_array((shape, values)).expect("a tensor");
        Hidden::of_batch(States::new(tensor, shape), 3, 1, 50.0)
    }

    fn values(cut: &Cut) -> Vec<f32> {
        let (_, values) = cut.tensor().try_extract_tensor::<f32>().expect("values");
        values.to_vec()
    }

    #[test]
    fn spans_are_cut_where_they_lie_and_the_last_one_fills_up() {
        let hidden = hidden(None);
        let spans = [
            hidden[2].span(0.02..0.06),
            hidden[0].span(0.06..0.1),
            hidden[1].span(0.0..0.04),
        ];
        let spans: Vec<&Hidden> = spans.iter().collect();
        let cut = cutter().cut(&spans, 4, 2).expect("a cut");
        assert_eq!(**cut.tensor().shape(), [4, 2, 2, 4]);
        let want: Vec<f32> = spans
            .iter()
            .chain([&spans[2]])
            .flat_map(|span| {
                span.view()
                    .expect("values")
                    .iter()
                    .copied()
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(values(&cut), want);
        let filled = [spans[0], spans[1], spans[2], spans[2]];
        let on_device = cutter().on_device(&spans[0].states, &filled, 2);
        let on_device = Cut::Part(on_device.expect("a cut"));
        assert_eq!(values(&on_device), want, "as where the host sees nothing");
        assert_eq!(want[0], 84.0, "the second vector of the last window");
    }

    #[test]
    fn a_whole_batch_in_order_is_not_copied() {
        let (cutter, hidden) = (cutter(), hidden(None));
        let all: Vec<&Hidden> = hidden.iter().collect();
        let is_whole = |hidden: &[&Hidden], size| {
            let length = hidden[0].vectors.len();
            matches!(
                cutter.cut(hidden, size, length).expect("a cut"),
                Cut::Whole(_)
            )
        };
        assert!(is_whole(&all, 3));
        assert!(!is_whole(&all, 4));
        assert!(!is_whole(&all[..2], 2));
        assert!(!is_whole(&[all[1], all[0], all[2]], 3));
        let spans: Vec<Hidden> = hidden.iter().map(|h| h.span(0.0..0.06)).collect();
        assert!(!is_whole(&spans.iter().collect::<Vec<_>>(), 3));
        assert!(cutter.cut(&[all[0], &spans[0]], 2, 3).is_err());
        let other = super::tests::hidden(None);
        assert!(cutter.cut(&[all[0], &other[1]], 2, 5).is_err());
        assert!(cutter.cut(&[], 0, 5).is_err());
    }

    #[test]
    fn what_is_shorter_is_repeated() {
        let (cutter, hidden) = (cutter(), hidden(None));
        let short = hidden[1].span(0.02..0.06);
        let spans = [&short, &hidden[1]];
        let cut = cutter.cut(&spans, 2, 5).expect("a cut");
        assert_eq!(**cut.tensor().shape(), [2, 2, 5, 4]);
        let found = values(&cut);
        let whole = hidden[1].view().expect("values");
        for (at, vector) in [2, 1, 2, 1, 2].into_iter().enumerate() {
            let row = whole.slice(ndarray::s![0, vector, ..]).to_vec();
            assert_eq!(found[4 * at..4 * at + 4], row);
        }
        assert_eq!(found[40..], Vec::from_iter(whole.iter().copied()));
        let on_device = cutter.on_device(&short.states, &spans, 5).expect("a cut");
        assert_eq!(values(&Cut::Part(on_device)), found);
    }

    #[test]
    fn values_that_are_not_finite_are_found_without_a_look_at_them() {
        let cutter = cutter();
        let broken_at = |broken| {
            let states = &hidden(broken)[0].states;
            assert_eq!(cutter.check(states).is_err(), broken.is_some());
            let sums = cutter.sums(states).expect("sums");
            sums.iter().map(|zero| *zero != 0.0).collect::<Vec<_>>()
        };
        assert_eq!(broken_at(None), [false; 3]);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(broken_at(Some(broken)), [false, true, false]);
        }
    }
}
