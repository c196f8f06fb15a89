//! Where sessions run: the providers, in the order in which they are tried, and what each is told.

use std::fmt;
use std::path::PathBuf;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{self, ArenaExtendStrategy};
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::error::ModelError;
use super::part::Part;
use super::runtime::{Runtime, chain};
use crate::config::{self, Provider};

/// Where a session really runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU, one thread.
    Cpu,
    /// A CUDA device.
    Cuda,
    /// A CUDA device, the encoder compiled for it by TensorRT.
    TensorRt,
}

impl Device {
    /// Whether it has memory of its own, to which the host has no cheap access.
    pub fn is_gpu(self) -> bool {
        self != Self::Cpu
    }

    /// The provider that asks for this device and no other.
    pub fn provider(self) -> Provider {
        match self {
            Self::Cpu => Provider::Cpu,
            Self::Cuda => Provider::Cuda,
            Self::TensorRt => Provider::Tensorrt,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        })
    }
}

/// Where models are asked to run. A bare [`Provider`] means its first device, and engines that are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// What is asked for.
    pub provider: Provider,
    /// Which of several GPUs, counted from 0.
    pub device_id: u16,
    /// Where TensorRT keeps the engines that it compiled; none: it compiles them anew at each start.
    pub engine_cache: Option<PathBuf>,
}

impl From<Provider> for Execution {
    fn from(provider: Provider) -> Self {
        Self {
            provider,
            device_id: 0,
            engine_cache: None,
        }
    }
}

impl From<&config::Models> for Execution {
    fn from(models: &config::Models) -> Self {
        Self {
            provider: models.provider,
            device_id: models.device_id,
            engine_cache: models.engine_cache.clone(),
        }
    }
}

impl Execution {
    /// What is tried, best first. Only `auto` has a second choice: who names a provider wants that one or an error.
    pub(super) fn candidates(&self) -> &'static [Device] {
        match self.provider {
            Provider::Cpu => &[Device::Cpu],
            Provider::Cuda => &[Device::Cuda],
            Provider::Tensorrt => &[Device::TensorRt],
            Provider::Auto => &[Device::TensorRt, Device::Cuda, Device::Cpu],
        }
    }
}

/// One device, and how its provider is set up.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub device: Device,
    pub id: u16,
    pub engine_cache: Option<PathBuf>,
    /// Whether the encoder's own numbers are 16-bit.
    pub half: bool,
}

impl Place {
    /// The CPU, where tests run what a GPU would.
    #[cfg(test)]
    pub fn host() -> Self {
        Self {
            device: Device::Cpu,
            id: 0,
            engine_cache: None,
            half: false,
        }
    }

    /// The same GPU without TensorRT. It compiles an engine for a range of shapes; the heads, which read spans of any
    /// length, and the little graphs would have it compile again and again.
    pub fn without_engines(&self) -> Self {
        let device = match self.device {
            Device::TensorRt => Device::Cuda,
            device => device,
        };
        Self {
            device,
            ..self.clone()
        }
    }

    /// The memory in which values stay from one session to the next.
    pub fn memory(&self) -> ort::Result<MemoryInfo<'static>> {
        let (kind, id) = match self.device {
            Device::Cpu => (AllocationDevice::CPU, 0),
            Device::Cuda | Device::TensorRt => (AllocationDevice::CUDA, i32::from(self.id)),
        };
        MemoryInfo::new(kind, id, AllocatorType::Device, MemoryType::Default)
    }

    /// One thread a session, for many sessions side by side beat one on many threads; no spinning, for a daemon mostly
    /// waits.
    pub fn builder(&self, runtime: &Runtime) -> Result<SessionBuilder, ModelError> {
        self.builder_of(runtime, ConvAlgorithmSearch::Heuristic)
    }

    /// The same for one part of a pack. The heuristic runs a convolution a band, of which the speech detector is made, six
    /// times slower than an H100 can (2.9 and 0.5 ms a batch of 32); to try every algorithm costs a quarter of a second a
    /// shape there.
    pub fn builder_for(&self, runtime: &Runtime, part: Part) -> Result<SessionBuilder, ModelError> {
        let search = match part {
            Part::Vad => ConvAlgorithmSearch::Exhaustive,
            _ => ConvAlgorithmSearch::Heuristic,
        };
        self.builder_of(runtime, search)
    }

    fn builder_of(
        &self,
        runtime: &Runtime,
        search: ConvAlgorithmSearch,
    ) -> Result<SessionBuilder, ModelError> {
        let options = || {
            Session::builder(runtime.environment())?
                // It warns of inputs with a value of their own, which a graph that can stream has on purpose.
                .with_log_level(LogLevel::Error)?
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
        let id = i32::from(self.id);
        // Without `error_on_failure` a missing provider silently gives a CPU session. TF32 would move known answers.
        let cuda = ep::CUDA::default()
            .with_device_id(id)
            .with_tf32(false)
            .with_conv_algorithm_search(search)
            // A session has one shape, and needs what that takes.
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .build()
            .error_on_failure();
        let providers = match self.device {
            Device::Cpu => return Ok(builder),
            Device::Cuda => vec![cuda],
            Device::TensorRt => {
                let mut engines = ep::TensorRT::default()
                    .with_device_id(id)
                    .with_fp16(self.half)
                    .with_layer_norm_fp32_fallback(self.half);
                if let Some(folder) = &self.engine_cache {
                    let path = folder.display();
                    engines = engines
                        .with_engine_cache(true)
                        .with_engine_cache_path(path)
                        .with_timing_cache(true)
                        .with_timing_cache_path(folder.display());
                }
                // What TensorRT does not take goes to CUDA, not to the host.
                vec![engines.build().error_on_failure(), cuda]
            }
        };
        let gpu = || -> ort::Result<SessionBuilder> {
            Ok(builder
                // Only a CPU multiplies a head's 8-bit weights as they are. Elsewhere they are widened at every run, some of
                // them on the host, unless nobody waits for them to become one operator with what is around them.
                .with_config_entry("session.disable_quant_qdq", "1")?
                .with_execution_providers(providers)?)
        };
        gpu().map_err(|e| self.failed(chain(&e)))
    }

    /// The error of a provider that does not work here.
    pub fn failed(&self, reason: String) -> ModelError {
        ModelError::Provider {
            device: self.device,
            id: self.id,
            reason,
        }
    }

    /// Makes the folder that engines are kept in.
    pub fn prepare(&self) -> Result<(), ModelError> {
        match (&self.engine_cache, self.device) {
            (Some(folder), Device::TensorRt) => std::fs::create_dir_all(folder)
                .map_err(|e| self.failed(format!("cannot make {}: {e}", folder.display()))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_has_a_second_choice() {
        for (provider, devices) in [
            (Provider::Cpu, &[Device::Cpu][..]),
            (Provider::Cuda, &[Device::Cuda]),
            (Provider::Tensorrt, &[Device::TensorRt]),
            (
                Provider::Auto,
                &[Device::TensorRt, Device::Cuda, Device::Cpu],
            ),
        ] {
            assert_eq!(Execution::from(provider).candidates(), devices);
        }
        for device in [Device::Cpu, Device::Cuda, Device::TensorRt] {
            assert_eq!(
                Execution::from(device.provider()).candidates(),
                [device],
                "{device}"
            );
        }
    }

    #[test]
    fn heads_of_an_encoder_on_tensorrt_run_on_the_same_gpu() {
        let place = Place {
            device: Device::TensorRt,
            id: 3,
            engine_cache: None,
            half: true,
        };
        let heads = place.without_engines();
        assert_eq!((heads.device, heads.id), (Device::Cuda, 3));
        assert_eq!(place.memory().is_ok(), heads.memory().is_ok());
    }
}
