//! A pack on disk: manifest read, every file inside the folder, of sane size and of the promised hash.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use ndarray::Array2;
use sha2::{Digest, Sha256};

use super::calibration::{Calibration, FusionCalibration, SpeakerCalibration};
use super::error::ModelError;
use super::heads::{Probe, ProbeKind, Short};
use super::input::Input;
use super::manifest::{Health, Manifest};
use super::part::Part;
use crate::config::Precision;
use crate::dsp::SAMPLE_RATE;

/// The largest model file that is loaded, bytes: more does not fit into one protobuf message, which an ONNX file is.
const FILE_LIMIT: u64 = (2 << 30) - 1;
/// The largest manifest, bytes.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// One measured number of a pack, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accuracy {
    /// Of which model.
    pub part: Part,
    /// Name of the measure, as the exporter wrote it: `eer_3s_percent`.
    pub measure: String,
    /// Its value.
    pub value: String,
}

/// A pack whose manifest and files were checked. Cheap to keep: the files are read again by each `Models::open`.
#[derive(Debug, Clone)]
pub struct Pack {
    folder: PathBuf,
    manifest: Manifest,
    hash: String,
    precision: Precision,
}

impl Pack {
    /// Reads `pack.toml` in `folder` and checks the contract and every file's hash. Reads all files once. Says nothing of who
    /// made it: [`Pack::trusted`] does.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        Self::load_if(folder, |_| Ok(()))
    }

    /// The same of a manifest whose bytes `passes`.
    pub(super) fn load_if(
        folder: &Path,
        passes: impl FnOnce(&[u8]) -> Result<(), ModelError>,
    ) -> Result<Self, ModelError> {
        let path = folder.join("pack.toml");
        let text = std::fs::metadata(&path)
            .and_then(|m| match m.len() {
                0..=MANIFEST_LIMIT => std::fs::read_to_string(&path),
                bytes => Err(std::io::Error::other(format!(
                    "{bytes} bytes is too large for a manifest"
                ))),
            })
            .map_err(|source| read_error(&path, source))?;
        passes(text.as_bytes())?;
        let manifest = Manifest::parse(&text, &path)?;
        let hash = binding_hash(&manifest);
        let pack = Self {
            folder: folder
                .canonicalize()
                .map_err(|source| read_error(folder, source))?,
            manifest,
            hash,
            precision: Precision::Fp32,
        };
        for part in pack.parts() {
            pack.visit(part, |_| {})?;
        }
        pack.cohort()?;
        for probe in pack.manifest.probes.values() {
            pack.visit_file(Part::Probe, &probe.file, &probe.sha256, |_| {})?;
        }
        let encoder = &pack.manifest.encoder;
        for variant in encoder.int8.iter().chain(&encoder.fp16) {
            pack.visit_file(Part::Encoder, &variant.file, &variant.sha256, |_| {})?;
        }
        Ok(pack)
    }

    /// The same pack with the encoder of this precision. Its embeddings are others: [`Pack::hash`] differs.
    ///
    /// # Errors
    /// A pack without an encoder of this precision.
    pub fn at(mut self, precision: Precision) -> Result<Self, ModelError> {
        let path = self.folder.join("pack.toml");
        self.manifest.choose(precision, &path)?;
        self.precision = precision;
        self.hash = binding_hash(&self.manifest);
        Ok(self)
    }

    /// What [`Pack::at`] can be asked for.
    pub fn precisions(&self) -> Vec<Precision> {
        let encoder = &self.manifest.encoder;
        let int8 = encoder.int8.as_ref().map(|_| Precision::Int8);
        let fp16 = encoder.fp16.as_ref().map(|_| Precision::Fp16);
        let variants = int8.into_iter().chain(fp16);
        [Precision::Fp32].into_iter().chain(variants).collect()
    }

    /// Numbers of the encoder in use.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The pack's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The pack's version.
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// Licence of the weights.
    pub fn licence(&self) -> &str {
        &self.manifest.licence
    }

    /// What it is, for people; may be empty.
    pub fn description(&self) -> &str {
        &self.manifest.description
    }

    /// What the weights were trained on, for people; may be empty.
    pub fn data(&self) -> &str {
        &self.manifest.data
    }

    /// Hex SHA-256 over the encoder's and the speaker head's hashes: embeddings of packs with the same value can be
    /// compared, others cannot. Enrolments are bound to it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The models that it has, without its probes.
    pub fn parts(&self) -> Vec<Part> {
        let m = &self.manifest;
        let heads = [
            m.speaker.as_ref().map(|_| Part::Speaker),
            m.spoof.as_ref().map(|_| Part::Spoof),
            m.sound.as_ref().map(|_| Part::Sound),
        ];
        let always = [Part::Vad, Part::Encoder];
        always
            .into_iter()
            .chain(heads.into_iter().flatten())
            .collect()
    }

    /// Hex SHA-256 of a model file; empty for one that the pack does not have.
    pub fn file_hash(&self, part: Part) -> &str {
        self.file(part).map_or("", |(_, hash)| hash)
    }

    /// What the sound head tells apart, in the order of its outputs; empty for a pack without one.
    pub fn sound_classes(&self) -> &[String] {
        self.manifest.sound.as_ref().map_or(&[], |s| &s.classes)
    }

    /// Length of the windows that the heads were trained and calibrated on, samples at 16 kHz.
    pub fn window_samples(&self) -> usize {
        self.manifest.window_samples()
    }

    /// Values of a speaker embedding; 0 without a speaker head.
    pub fn embedding_dim(&self) -> usize {
        self.manifest.speaker.as_ref().map_or(0, |s| s.dim)
    }

    /// Whether it has this model.
    pub fn has(&self, part: Part) -> bool {
        self.file(part).is_some()
    }

    /// What its encoder is given, and how its hidden states lie in time.
    pub fn input(&self) -> &Input {
        &self.manifest.encoder.input
    }

    /// Whether its encoder hears at [`WIDE_RATE`](crate::audio::WIDE_RATE).
    pub fn is_wide(&self) -> bool {
        self.input().sample_rate() == crate::audio::WIDE_RATE
    }

    /// Names of its probes, in the order in which [`Models::probe`](super::Models::probe) answers.
    pub fn probes(&self) -> impl Iterator<Item = (&str, ProbeKind, &[String])> {
        let probes = self.manifest.probes.iter();
        probes.map(|(name, p)| (name.as_str(), p.kind, p.labels.as_slice()))
    }

    /// Embeddings of people of whom nobody here is one, `[voices, embedding_dim]`, to normalise a score against; none in a pack
    /// without a cohort. Reads the file again, and checks it.
    pub fn cohort(&self) -> Result<Option<Array2<f32>>, ModelError> {
        let speaker = self.manifest.speaker.as_ref();
        let Some(cohort) = speaker.and_then(|s| s.cohort.as_ref()) else {
            return Ok(None);
        };
        let bytes = self.bytes(Part::Speaker, &cohort.file, &cohort.sha256)?;
        let values = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        let shape = (cohort.voices, self.embedding_dim());
        let refused = |reason: String| ModelError::Refused {
            part: Part::Speaker,
            reason,
        };
        match Array2::from_shape_vec(shape, values.collect()) {
            Ok(voices) if voices.iter().all(|x| x.is_finite()) => Ok(Some(voices)),
            Ok(_) => Err(refused(
                "its cohort holds numbers that are not finite".into(),
            )),
            Err(_) => Err(refused(format!(
                "its cohort has {} bytes, expected {} voices of {} values",
                bytes.len(),
                shape.0,
                shape.1
            ))),
        }
    }

    /// From score to log-likelihood ratio, same person against another.
    ///
    /// # Errors
    /// A pack without a speaker head.
    pub fn speaker_calibration(&self) -> Result<&SpeakerCalibration, ModelError> {
        let part = Part::Speaker;
        let head = self.manifest.speaker.as_ref();
        Ok(&head.ok_or(ModelError::Absent { part })?.calibration)
    }

    /// How many voices of [`Pack::cohort`] a side is normalised against; `None`: the score is the cosine.
    pub fn cohort_top(&self) -> Option<usize> {
        self.manifest.speaker.as_ref()?.cohort.as_ref()?.top
    }

    /// Calibration of speaker and spoof together; a pack without takes both as they are.
    pub fn fusion(&self) -> FusionCalibration {
        self.manifest.fusion.unwrap_or_default()
    }

    /// From the spoof head's score to log-likelihood ratio, bona fide against spoof.
    ///
    /// # Errors
    /// A pack without a spoof head.
    pub fn spoof_calibration(&self) -> Result<Calibration, ModelError> {
        let part = Part::Spoof;
        let head = self.manifest.spoof.as_ref();
        Ok(head.ok_or(ModelError::Absent { part })?.calibration)
    }

    /// How the spoof head judges short windows; those of the usual length where the pack does not say.
    ///
    /// # Errors
    /// A pack without a spoof head.
    pub fn spoof_short(&self) -> Result<Short, ModelError> {
        let part = Part::Spoof;
        let head = self.manifest.spoof.as_ref();
        let usual_s = self.window_samples() as f64 / f64::from(SAMPLE_RATE);
        Ok(head.ok_or(ModelError::Absent { part })?.short(usual_s))
    }

    /// What the judgement on a short window is the sum of, in the order of its [`Opinion::parts`](super::Opinion::parts).
    pub fn spoof_short_parts(&self) -> &[String] {
        let own = self.short_reading();
        if own.is_empty() {
            self.spoof_parts()
        } else {
            own
        }
    }

    /// The same, if the head has a reading of its own for them; otherwise empty.
    pub(super) fn short_reading(&self) -> &[String] {
        let short = self.manifest.spoof.as_ref().and_then(|s| s.short.as_ref());
        short.map_or(&[], |short| &short.parts)
    }

    /// What the spoof head's score is the sum of, in the order of [`Opinion::parts`](super::Opinion::parts); empty for a head that does not say.
    pub fn spoof_parts(&self) -> &[String] {
        self.manifest.spoof.as_ref().map_or(&[], |s| &s.parts)
    }

    /// From which probability on a 20 ms frame counts as speech.
    pub fn speech_threshold(&self) -> f32 {
        self.manifest.vad.threshold
    }

    /// What it is like on clean speech; none where nobody measured that.
    pub fn health(&self) -> Option<Health> {
        self.manifest.encoder.health
    }

    /// Everything that was measured, in the order of [`Pack::parts`]; a probe's measures carry its name.
    pub fn accuracy(&self) -> Vec<Accuracy> {
        let m = &self.manifest;
        let tables = [
            Some(&m.vad.accuracy),
            Some(&m.encoder.accuracy),
            m.speaker.as_ref().map(|s| &s.accuracy),
            m.spoof.as_ref().map(|s| &s.accuracy),
            m.sound.as_ref().map(|s| &s.accuracy),
        ];
        let row = |part, measure: String, value: &toml::Value| Accuracy {
            part,
            measure,
            value: value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        };
        let parts = self.parts().into_iter();
        let heads = parts.zip(tables.into_iter().flatten());
        let rows = heads.flat_map(|(part, table)| {
            let of = table.iter();
            of.map(move |(measure, value)| row(part, measure.clone(), value))
        });
        let probes = m.probes.iter().flat_map(|(name, probe)| {
            let of = probe.accuracy.iter();
            of.map(move |(measure, value)| row(Part::Probe, format!("{name}.{measure}"), value))
        });
        rows.chain(probes).collect()
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a probe's model, checked again.
    pub(super) fn read_probe(&self, probe: &Probe) -> Result<Vec<u8>, ModelError> {
        self.bytes(Part::Probe, &probe.file, &probe.sha256)
    }

    /// The bytes of a model, checked again: what a session gets is what was hashed, whatever happened to the file since.
    pub(super) fn read(&self, part: Part) -> Result<Vec<u8>, ModelError> {
        let (name, expected) = self.file(part).ok_or(ModelError::Absent { part })?;
        self.bytes(part, name, expected)
    }

    fn bytes(&self, part: Part, name: &str, expected: &str) -> Result<Vec<u8>, ModelError> {
        // Of the size that it will have: a large encoder that grows by doubling would need twice its memory.
        let size = self.resolve(part, name)?.metadata().map_or(0, |m| m.len());
        let size = if size <= FILE_LIMIT { size } else { 0 };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.visit_file(part, name, expected, |block| bytes.extend_from_slice(block))?;
        Ok(bytes)
    }

    /// Name and hash of a model's file.
    fn file(&self, part: Part) -> Option<(&str, &str)> {
        let m = &self.manifest;
        match part {
            Part::Vad => Some((&m.vad.file, &m.vad.sha256)),
            Part::Encoder => Some((&m.encoder.file, &m.encoder.sha256)),
            Part::Speaker => m.speaker.as_ref().map(|s| (&s.file, &s.sha256)),
            Part::Spoof => m.spoof.as_ref().map(|s| (&s.file, &s.sha256)),
            Part::Sound => m.sound.as_ref().map(|s| (&s.file, &s.sha256)),
            // Each has a file of its own.
            Part::Probe => None,
        }
        .map(|(file, hash)| (file.as_str(), hash.as_str()))
    }

    /// Shows a file's bytes block by block to `visitor`; an error if they are not those that the manifest promises.
    fn visit(&self, part: Part, visitor: impl FnMut(&[u8])) -> Result<(), ModelError> {
        let (name, expected) = self.file(part).ok_or(ModelError::Absent { part })?;
        self.visit_file(part, name, expected, visitor)
    }

    fn visit_file(
        &self,
        part: Part,
        name: &str,
        expected: &str,
        mut visitor: impl FnMut(&[u8]),
    ) -> Result<(), ModelError> {
        let path = self.resolve(part, name)?;
        let failed = |source| read_error(&path, source);
        let file = File::open(&path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(failed(std::io::Error::other("not a regular file")));
        }
        if meta.len() > FILE_LIMIT {
            return Err(ModelError::TooLarge {
                path,
                bytes: meta.len(),
                limit: FILE_LIMIT,
            });
        }
        // A file that grows meanwhile is cut off here and fails its hash.
        let mut file = file.take(FILE_LIMIT);
        let (mut hasher, mut block) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut block).map_err(failed)? {
                0 => break,
                n => {
                    hasher.update(&block[..n]);
                    visitor(&block[..n]);
                }
            }
        }
        let found = hex(&hasher.finalize());
        if found.eq_ignore_ascii_case(expected) {
            Ok(())
        } else {
            Err(ModelError::Hash {
                path,
                expected: expected.to_owned(),
                found,
            })
        }
    }

    /// The path of a file that the manifest names, which must lie inside the folder also after links are followed.
    fn resolve(&self, part: Part, name: &str) -> Result<PathBuf, ModelError> {
        let outside = || ModelError::Outside {
            part,
            file: name.to_owned(),
        };
        let relative = Path::new(name);
        let plain = relative
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        if name.is_empty() || !plain {
            return Err(outside());
        }
        let path = self.folder.join(relative);
        let real = path
            .canonicalize()
            .map_err(|source| read_error(&path, source))?;
        if real.starts_with(&self.folder) {
            Ok(real)
        } else {
            Err(outside())
        }
    }
}

fn read_error(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Read {
        path: path.into(),
        source,
    }
}

fn binding_hash(manifest: &Manifest) -> String {
    let mut text = format!(
        "earwitness embedding\nencoder {}\nspeaker {}\n",
        manifest.encoder.sha256.to_ascii_lowercase(),
        manifest
            .speaker
            .as_ref()
            .map_or_else(String::new, |s| s.sha256.to_ascii_lowercase())
    );
    // The same network on other features gives other embeddings.
    if manifest.encoder.input != Input::default() {
        text += &format!("input {:?}\n", manifest.encoder.input);
    }
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
