//! One ONNX session held to its contract: names, ranks and dimensions when it is opened, shape and finite values at
//! every run.

use std::fmt;

use ort::ep;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, TensorRef};

use super::error::ModelError;
use super::onnx;
use super::pack::Part;
use super::runtime::{Runtime, chain};

/// Where a session really runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU, one thread.
    Cpu,
    /// The first CUDA device.
    Cuda,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

/// Name and dimensions of an input or output; −1 is a dynamic dimension.
pub(super) type Port = (&'static str, Vec<i64>);

/// What a model has to take and to give.
pub(super) struct Contract {
    pub part: Part,
    pub inputs: Vec<Port>,
    pub output: Port,
}

/// A session and what it promised.
pub(super) struct Net {
    part: Part,
    session: Session,
    inputs: Vec<&'static str>,
}

impl Net {
    /// Checks the file, loads it and checks its inputs and outputs.
    pub fn open(
        runtime: &Runtime,
        bytes: &[u8],
        device: Device,
        contract: Contract,
    ) -> Result<Self, ModelError> {
        let part = contract.part;
        let refused = |reason: String| ModelError::Refused { part, reason };
        onnx::check(bytes).map_err(refused)?;
        let session = builder(runtime, device)?
            .commit_from_memory(bytes)
            .map_err(|e| refused(chain(&e)))?;
        check_ports(part, session.inputs(), &contract.inputs, true)?;
        check_ports(
            part,
            session.outputs(),
            std::slice::from_ref(&contract.output),
            false,
        )?;
        Ok(Self {
            part,
            session,
            inputs: contract.inputs.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// Runs on one tensor an input, in the contract's order, and hands the output's values to `read`, after its shape
    /// was found to be `expected` and its values finite.
    pub fn run<R>(
        &mut self,
        inputs: &[(&[usize], &[f32])],
        expected: &[usize],
        read: impl FnOnce(&[f32]) -> R,
    ) -> Result<R, ModelError> {
        let part = self.part;
        let failed = |e: ort::Error| ModelError::Run {
            part,
            reason: chain(&e),
        };
        let mut values: Vec<(&str, SessionInputValue)> = Vec::with_capacity(inputs.len());
        for (name, (shape, data)) in self.inputs.iter().zip(inputs) {
            let tensor = TensorRef::from_array_view((*shape, *data)).map_err(failed)?;
            values.push((*name, tensor.into()));
        }
        let outputs = self.session.run(values).map_err(failed)?;
        let (shape, data) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        if !shape
            .iter()
            .map(|d| usize::try_from(*d).ok())
            .eq(expected.iter().map(|d| Some(*d)))
        {
            return Err(ModelError::Contract {
                part,
                expected: format!("an output of shape {expected:?}"),
                found: format!("{shape}"),
            });
        }
        if let Some(found) = data.iter().find(|x| !x.is_finite()) {
            return Err(ModelError::Output {
                part,
                expected: "finite values",
                found: *found,
            });
        }
        Ok(read(data))
    }
}

/// One thread a session, for many sessions side by side beat one on many threads; no spinning, for a daemon mostly waits.
fn builder(runtime: &Runtime, device: Device) -> Result<SessionBuilder, ModelError> {
    let options = || {
        Session::builder(runtime.environment())?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)
            .map_err(ort::Error::from)
    };
    let builder = options().map_err(|e: ort::Error| ModelError::RuntimeUnusable {
        path: runtime.path().into(),
        reason: chain(&e),
    })?;
    match device {
        Device::Cpu => Ok(builder),
        // Without `error_on_failure` a missing provider silently gives a CPU session. TF32 would move known answers.
        Device::Cuda => builder
            .with_execution_providers([ep::CUDA::default()
                .with_tf32(false)
                .build()
                .error_on_failure()])
            .map_err(|e| ModelError::Provider { reason: chain(&e) }),
    }
}

/// Whether CUDA sessions can be made at all.
pub(super) fn cuda_works(runtime: &Runtime) -> Result<(), ModelError> {
    builder(runtime, Device::Cuda).map(|_| ())
}

/// Inputs must have exactly the dimensions of the contract. An output's may be undetermined in the file: every run
/// checks the real ones.
fn check_ports(
    part: Part,
    found: &[Outlet],
    expected: &[Port],
    exact: bool,
) -> Result<(), ModelError> {
    let fits = |(name, dims): &Port| {
        found.iter().any(|outlet| {
            let shape = outlet.dtype().tensor_shape();
            let same_dims = shape.is_some_and(|shape| {
                let mut pairs = shape.iter().zip(dims);
                shape.len() == dims.len() && pairs.all(|(f, e)| f == e || (!exact && *f == -1))
            });
            let float = outlet.dtype().tensor_type() == Some(TensorElementType::Float32);
            outlet.name() == *name && float && same_dims
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
    let kind = if exact { "inputs" } else { "outputs" };
    let list = |ports: Vec<String>| format!("{kind} {}", ports.join(" and "));
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
                    |o| match (o.dtype().tensor_type(), o.dtype().tensor_shape()) {
                        (Some(kind), Some(shape)) => {
                            format!("{} {kind} [{}]", o.name(), dims(shape))
                        }
                        _ => format!("{} {}", o.name(), o.dtype()),
                    },
                )
                .collect(),
        ),
    })
}
