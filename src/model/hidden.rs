//! Hidden states of a window: values that lie where the encoder left them, and are fetched only when somebody looks.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use ndarray::{ArrayView3, ArrayView4, s};
use ort::memory::AllocationDevice;
use ort::value::Tensor;

use super::error::ModelError;
use super::part::Part;
use super::runtime::chain;

/// What one run of the encoder made, `[batch, layers, vectors, dim]`, in the memory of its device.
pub(super) struct States {
    pub tensor: Tensor<f32>,
    pub shape: [usize; 4],
    /// A copy in the host's memory, once somebody asked for values that the host cannot see.
    fetched: OnceLock<Tensor<f32>>,
}

impl States {
    pub fn new(tensor: Tensor<f32>, shape: [usize; 4]) -> Self {
        Self {
            tensor,
            shape,
            fetched: OnceLock::new(),
        }
    }

    /// Values in the host's memory.
    pub fn of_host(values: Vec<f32>, shape: [usize; 4]) -> Result<Self, ModelError> {
        let tensor = Tensor::from_array((shape, values)).map_err(|e| ModelError::Run {
            part: Part::Encoder,
            reason: chain(&e),
        })?;
        Ok(Self::new(tensor, shape))
    }

    /// Whether the host can read the values where they are.
    pub fn is_at_hand(&self) -> bool {
        self.tensor.memory_info().is_cpu_accessible()
    }

    /// All values, fetched if they have to be.
    pub fn values(&self) -> Result<ArrayView4<'_, f32>, ModelError> {
        let failed = |reason: String| ModelError::Run {
            part: Part::Encoder,
            reason,
        };
        let tensor = match (self.is_at_hand(), self.fetched.get()) {
            (true, _) => &self.tensor,
            (false, Some(fetched)) => fetched,
            (false, None) => {
                let copy = self.tensor.to(AllocationDevice::CPU, 0);
                let copy = copy.map_err(|e| failed(chain(&e)))?;
                self.fetched.get_or_init(|| copy)
            }
        };
        let (_, values) = tensor
            .try_extract_tensor::<f32>()
            .map_err(|e| failed(chain(&e)))?;
        ArrayView4::from_shape(self.shape, values).map_err(|e| failed(e.to_string()))
    }
}

/// Hidden states of one window, read by every head. Cheap to clone and to cut: the values are shared, and stay in the
/// memory of the device that made them.
#[derive(Clone)]
pub struct Hidden {
    pub(super) states: Arc<States>,
    /// Which window of the encoder's batch.
    pub(super) item: usize,
    pub(super) vectors: Range<usize>,
    /// Vectors a hidden frame.
    tokens: usize,
    /// Hidden frames a second.
    pub(super) rate: f64,
}

impl Hidden {
    /// The windows of a batch, of whose items the first `windows` count.
    pub(super) fn of_batch(states: States, windows: usize, tokens: usize, rate: f64) -> Vec<Self> {
        let states = Arc::new(states);
        let window = |item| Self {
            vectors: 0..states.shape[2],
            states: states.clone(),
            item,
            tokens,
            rate,
        };
        (0..windows).map(window).collect()
    }

    /// `[layers, vectors, dim]`, the vectors in the order of time (those of a patched encoder: all of one frame after another);
    /// layer 0 is what enters the first layer. States that lie on a GPU are fetched, once.
    ///
    /// # Errors
    /// They cannot be fetched: the device is lost.
    pub fn view(&self) -> Result<ArrayView3<'_, f32>, ModelError> {
        let all = self.states.values()?;
        Ok(all.slice_move(s![self.item, .., self.vectors.clone(), ..]))
    }

    /// Whether they can be viewed without being fetched from a GPU.
    pub fn is_at_hand(&self) -> bool {
        self.states.is_at_hand()
    }

    /// Vectors that stand for a second.
    pub fn vectors_a_second(&self) -> f64 {
        self.rate * self.tokens as f64
    }

    /// Layers, vectors, values a vector.
    pub fn shape(&self) -> [usize; 3] {
        let [_, layers, _, dim] = self.states.shape;
        [layers, self.vectors.len(), dim]
    }

    /// Hidden frames.
    pub fn frames(&self) -> usize {
        self.vectors.len() / self.tokens
    }

    /// Seconds that all its frames stand for.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / self.rate
    }

    /// The states of these seconds alone: at least one frame, at most those that there are.
    pub fn span(&self, seconds: Range<f64>) -> Self {
        // A hair to either side, or rounding would move an edge that falls on a frame's.
        let (from, to) = (seconds.start * self.rate, seconds.end * self.rate);
        let end = ((to - 1e-6).ceil().max(1.0) as usize).min(self.frames());
        let start = ((from + 1e-6) as usize).min(end.saturating_sub(1));
        let first = self.vectors.start;
        Self {
            vectors: first + start * self.tokens..first + end * self.tokens,
            ..self.clone()
        }
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [layers, vectors, dim] = self.shape();
        write!(f, "Hidden [{layers}, {vectors}, {dim}]")
    }
}

/// By their values.
impl PartialEq for Hidden {
    fn eq(&self, other: &Self) -> bool {
        let alike = (self.tokens, self.rate) == (other.tokens, other.rate);
        alike && matches!((self.view(), other.view()), (Ok(a), Ok(b)) if a == b)
    }
}
