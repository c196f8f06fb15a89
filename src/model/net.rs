//! One ONNX session held to its contract: names, ranks and dimensions when it is opened, shape and finite values at
//! every run.

use std::sync::Arc;
use std::time::Instant;

use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};

use super::cut::{host, take};
use super::error::ModelError;
use super::onnx::{check_onnx, without_rounding};
use super::part::Part;
use super::place::{Device, Place};
use super::plans::{Again, Plans};
use super::runtime::{Runtime, chain};
use super::spent::Spent;

/// Name and dimensions of an input or output; −1 is a dynamic dimension.
pub(super) type Port = (&'static str, Vec<i64>);

/// What a model has to take and to give.
pub(super) struct Contract {
    pub part: Part,
    pub inputs: Vec<Port>,
    /// Inputs that have a value of their own where none is given.
    pub optional: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// One input of a run.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// Shape and values in the host's memory.
    Host(&'a [usize], &'a [f32]),
    /// A tensor, wherever it lies.
    Tensor(&'a Tensor<f32>),
}

impl Given<'_> {
    /// Its dimensions.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Host(shape, _) => shape.to_vec(),
            Self::Tensor(tensor) => tensor.shape().iter().map(|d| *d as usize).collect(),
        }
    }
}

/// A model's sessions and what they promised. A clone has the same sessions.
#[derive(Clone)]
pub(super) struct Net {
    part: Part,
    sessions: Plans,
    inputs: Vec<&'static str>,
    outputs: Vec<&'static str>,
    spent: Arc<Spent>,
}

impl Net {
    /// Checks the file, loads it and checks its inputs and outputs.
    pub fn open(
        runtime: &Runtime,
        bytes: &[u8],
        place: &Place,
        contract: Contract,
    ) -> Result<Self, ModelError> {
        let part = contract.part;
        let refused = |reason: String| ModelError::Refused { part, reason };
        check_onnx(bytes).map_err(refused)?;
        // Elsewhere to round and to widen again is a tenth of the spoof head's work.
        let wide = match place.device.is_gpu() {
            true => Some(without_rounding(bytes).map_err(refused)?),
            false => None,
        };
        let bytes = wide.as_deref().unwrap_or(bytes);
        let session = commit(runtime, bytes, place, part)?;
        check_ports(part, "inputs", &ports(session.inputs()), &contract.inputs)?;
        let optional = session.overridable_initializers();
        let optional: Vec<_> = optional.iter().map(|o| (o.name(), o.dtype())).collect();
        check_ports(part, "optional inputs", &optional, &contract.optional)?;
        check_ports(
            part,
            "outputs",
            &ports(session.outputs()),
            &contract.outputs,
        )?;
        let names = |ports: Vec<Port>| ports.into_iter().map(|(name, _)| name);
        // TensorRT's engines take a range of shapes.
        let again = || {
            Some(Again {
                runtime: Runtime::loaded()?,
                bytes: bytes.to_vec(),
                place: place.clone(),
                part,
            })
        };
        let is_planned = place.device == Device::Cuda;
        Ok(Self {
            part,
            sessions: Plans::new(session, is_planned.then(again).flatten()),
            inputs: names(contract.inputs)
                .chain(names(contract.optional))
                .collect(),
            outputs: names(contract.outputs).collect(),
            spent: Arc::default(),
        })
    }

    /// Runs on one tensor an input, in the contract's order, and hands the first output's values to `read`, after its shape
    /// was found to be `expected` and its values finite.
    pub fn run<R>(
        &self,
        inputs: &[Given],
        expected: &[usize],
        read: impl FnOnce(&[f32]) -> R,
    ) -> Result<R, ModelError> {
        self.run_for(inputs, &[expected], |values| read(values[0]))
    }

    /// The same with as many outputs as there are `expected` shapes. Optional inputs that are left out have their own values.
    pub fn run_for<R>(
        &self,
        inputs: &[Given],
        expected: &[&[usize]],
        read: impl FnOnce(&[&[f32]]) -> R,
    ) -> Result<R, ModelError> {
        let part = self.part;
        let failed = |e: ort::Error| failed(part, &e);
        let session = self.sessions.for_inputs(inputs)?;
        let asked = Instant::now();
        let mut session = session.hold();
        let began = Instant::now();
        let mut values: Vec<(&str, SessionInputValue)> = Vec::with_capacity(inputs.len());
        for (name, given) in self.inputs.iter().zip(inputs) {
            let value = match given {
                Given::Host(shape, data) => host(shape, data).map_err(failed)?.into(),
                Given::Tensor(tensor) => (*tensor).into(),
            };
            values.push((*name, value));
        }
        let outputs = session.run(values).map_err(failed)?;
        let mut found = Vec::with_capacity(expected.len());
        for (name, expected) in self.outputs.iter().zip(expected) {
            let value = outputs.get(name).ok_or_else(|| ModelError::Run {
                part,
                reason: format!("it gave no output \"{name}\""),
            })?;
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
            check_shape(part, shape, expected)?;
            if let Some(found) = not_finite(data) {
                return Err(ModelError::Output {
                    part,
                    expected: "finite values",
                    found,
                });
            }
            found.push(data);
        }
        let read = read(&found);
        self.spent.add(asked, began);
        Ok(read)
    }

    /// Runs on one tensor of values and leaves the output where `place` has its memory, after its shape was found to be
    /// `expected`. Its values were not looked at.
    pub fn run_on_device(
        &self,
        shape: &[usize],
        values: &[f32],
        expected: &[usize],
        place: &Place,
    ) -> Result<Tensor<f32>, ModelError> {
        let part = self.part;
        let session = self.sessions.for_inputs(&[Given::Host(shape, values)])?;
        let asked = Instant::now();
        let mut session = session.hold();
        let began = Instant::now();
        let mut run = || -> ort::Result<Tensor<f32>> {
            let memory = place.memory()?;
            let mut binding = session.create_binding()?;
            match place.device.is_gpu() {
                // It goes to the device from where it lies.
                true => binding.bind_input(self.inputs[0], &*host(shape, values)?)?,
                // The binding would copy a borrowed tensor, and slower.
                false => {
                    let input = Tensor::from_array((shape.to_vec(), values.to_vec()))?;
                    binding.bind_input(self.inputs[0], &input)?;
                }
            }
            let output = self.outputs[0];
            binding.bind_output_to_device(output, &memory)?;
            take(session.run_binding(&binding)?.remove(output))
        };
        let tensor = run().map_err(|e| failed(part, &e))?;
        self.spent.add(asked, began);
        check_shape(part, tensor.shape(), expected)?;
        // Without a provider for the device a binding silently falls back to the host's memory.
        if place.device.is_gpu() && tensor.memory_info().is_cpu_accessible() {
            let found = "the host's memory".to_owned();
            let expected = format!("an output in the memory of {}", place.device);
            return Err(ModelError::Contract {
                part,
                expected,
                found,
            });
        }
        Ok(tensor)
    }
}

/// What a model that was just opened is told once the shapes that it will run are known.
impl Net {
    /// See [`Plans::forget`].
    pub fn forget_shapes(&self) {
        self.sessions.forget();
    }

    /// How long its runs that gave an answer took so far.
    pub fn spent(&self) -> Arc<Spent> {
        self.spent.clone()
    }

    /// See [`Plans::settle`].
    pub fn settle(&self) {
        self.sessions.settle();
    }
}

/// The first value that is no finite number. Piece by piece, each looked at as a whole: a search that may end anywhere looks at
/// one value at a time.
pub(super) fn not_finite(values: &[f32]) -> Option<f32> {
    let is_fine = |piece: &[f32]| piece.iter().fold(true, |fine, x| fine & x.is_finite());
    let broken = values.chunks(256).find(|piece| !is_fine(piece))?;
    broken.iter().copied().find(|x| !x.is_finite())
}

fn failed(part: Part, error: &ort::Error) -> ModelError {
    ModelError::Run {
        part,
        reason: chain(error),
    }
}

fn check_shape(part: Part, shape: &[i64], expected: &[usize]) -> Result<(), ModelError> {
    let dims = shape.iter().map(|d| usize::try_from(*d).ok());
    if dims.eq(expected.iter().map(|d| Some(*d))) {
        return Ok(());
    }
    Err(ModelError::Contract {
        part,
        expected: format!("an output of shape {expected:?}"),
        found: format!("{shape:?}"),
    })
}

/// Loads the model. A driver or a GPU that is missing shows only now: then the model loads on the CPU, and the provider
/// is to blame.
pub(super) fn commit(
    runtime: &Runtime,
    bytes: &[u8],
    place: &Place,
    part: Part,
) -> Result<Session, ModelError> {
    let on = |place: &Place| -> Result<Result<Session, String>, ModelError> {
        let session = place.builder_for(runtime, part)?.commit_from_memory(bytes);
        Ok(session.map_err(|e| chain(&e)))
    };
    let host = Place {
        device: Device::Cpu,
        ..place.clone()
    };
    match on(place)? {
        Ok(session) => Ok(session),
        Err(reason) if place.device.is_gpu() && on(&host)?.is_ok() => Err(place.failed(reason)),
        Err(reason) => Err(ModelError::Refused { part, reason }),
    }
}

/// What a session says of its inputs or outputs.
fn ports(outlets: &[Outlet]) -> Vec<(&str, &ValueType)> {
    outlets.iter().map(|o| (o.name(), o.dtype())).collect()
}

/// Inputs must have exactly the dimensions of the contract. An output's, and those of the values that an optional input has
/// by itself, may be others in the file: every run checks the real ones.
fn check_ports(
    part: Part,
    kind: &str,
    found: &[(&str, &ValueType)],
    expected: &[Port],
) -> Result<(), ModelError> {
    let fits = |(name, dims): &Port| {
        found.iter().any(|(found, dtype)| {
            let shape = dtype.tensor_shape();
            let same = |(f, e): (&i64, &i64)| match kind {
                "inputs" => f == e,
                "outputs" => f == e || *f == -1,
                _ => f == e || *e == -1,
            };
            let same_dims = shape
                .is_some_and(|shape| shape.len() == dims.len() && shape.iter().zip(dims).all(same));
            let float = dtype.tensor_type() == Some(TensorElementType::Float32);
            found == name && float && same_dims
        })
    };
    if found.len() == expected.len() && expected.iter().all(fits) {
        return Ok(());
    }
    let dims = |dims: &[i64]| {
        let names: Vec<String> = dims
            .iter()
            .map(|d| {
                if *d < 0 {
                    "dynamic".into()
                } else {
                    d.to_string()
                }
            })
            .collect();
        names.join(", ")
    };
    let list = |ports: Vec<String>| match ports.is_empty() {
        true => format!("no {kind}"),
        false => format!("{kind} {}", ports.join(" and ")),
    };
    Err(ModelError::Contract {
        part,
        expected: list(
            expected
                .iter()
                .map(|(name, d)| format!("{name} f32 [{}]", dims(d)))
                .collect(),
        ),
        found: list(
            found
                .iter()
                .map(
                    |(name, dtype)| match (dtype.tensor_type(), dtype.tensor_shape()) {
                        (Some(kind), Some(shape)) => {
                            format!("{name} {kind} [{}]", dims(shape))
                        }
                        _ => format!("{name} {dtype}"),
                    },
                )
                .collect(),
        ),
    })
}
