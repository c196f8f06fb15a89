//! What every command on files needs: the configuration, the models, and recordings turned into evidence.

use std::path::{Path, PathBuf};

use crate::audio::{self, Signal};
use crate::config::Config;
use crate::model::{Pack, Runtime, Wanted};
use crate::pipeline::{Analyser, Ready, Shape};
use crate::task::recording::Evidence;
use crate::task::timeline::{Glance, Prices, Segment, timeline};
use crate::task::{Policy, Scores};
use anyhow::anyhow;

use super::{Analysis, Failure};

/// Models at hand.
pub struct Workbench {
    /// The configuration in force.
    pub config: Config,
    /// The pack in use.
    pub pack: Pack,
    analyser: Analyser,
    channel: Option<u16>,
}

impl Workbench {
    /// Reads the configuration and opens the models that tell voices apart, and real from forged.
    pub fn open(args: &Analysis) -> Result<Self, Failure> {
        let config = args.config()?;
        let wanted = Wanted {
            spoof: config.spoof.enabled,
            ..Wanted::default()
        };
        Self::with(config, args.channel, wanted)
    }

    /// Opens the models of a configuration, of the heads that can be left out those that are wanted; of recordings `channel` counts, or all, mixed.
    pub fn with(config: Config, channel: Option<u16>, wanted: Wanted) -> Result<Self, Failure> {
        let runtime = Runtime::load(config.models.runtime.as_deref())?;
        let pack = Pack::configured(&config.models)?;
        let analyser = Analyser::open(runtime, &pack, &config.models, &config.window, wanted)?;
        Ok(Self {
            config,
            pack,
            analyser,
            channel,
        })
    }

    /// The same for recordings on which people take turns.
    pub fn following_turns(mut self) -> Self {
        self.analyser = self.analyser.following_turns();
        self
    }

    /// The same with what the health of the encoder is judged by.
    pub fn watching(mut self) -> Self {
        self.analyser = self.analyser.watching();
        self
    }

    /// A recording, mono.
    pub fn signal(&self, path: &Path) -> Result<Signal, Failure> {
        Ok(audio::decode_signal(
            path,
            self.channel,
            self.pack.is_wide(),
        )?)
    }

    /// The models, for segments that a caller cuts.
    pub fn analyser(&mut self) -> &mut Analyser {
        &mut self.analyser
    }

    /// Scores one recording, window by window.
    pub fn scores(&mut self, path: &Path) -> Result<Vec<Scores>, Failure> {
        let signal = self.signal(path)?;
        self.scores_of(&signal)
    }

    /// The same of a recording that was read.
    pub fn scores_of(&mut self, signal: &Signal) -> Result<Vec<Scores>, Failure> {
        Ok(self.analyser.recording(signal, &self.config.window)?)
    }

    /// What the spoof head says along a recording, and the timeline that this makes.
    pub fn timeline(
        &mut self,
        signal: &Signal,
        policy: &Policy,
    ) -> Result<(Vec<Glance>, Vec<Segment>), Failure> {
        let short = self.pack.spoof_short()?;
        let glances = self.analyser.curve(signal, Shape::of(short.seconds))?;
        let segments = timeline(&glances, short.calibration, policy, &Prices::default());
        Ok((glances, segments))
    }

    /// Puts recordings of one voice together; too little speech is an error that says how much there was.
    pub fn evidence(&mut self, paths: &[PathBuf]) -> Result<(Evidence, Vec<f32>), Failure> {
        // Better told before an hour is analysed.
        self.pack.speaker_calibration()?;
        let recordings = paths
            .iter()
            .map(|p| self.scores(p))
            .collect::<Result<Vec<_>, _>>()?;
        self.gathered(&recordings, paths)
    }

    /// The same of the windows of recordings that were scored; `paths` only name them.
    pub fn gathered(
        &self,
        recordings: &[Vec<Scores>],
        paths: &[PathBuf],
    ) -> Result<(Evidence, Vec<f32>), Failure> {
        let evidence = Evidence::of(recordings.iter().map(Vec::as_slice));
        match evidence.embedding.clone() {
            Some(embedding) => Ok((evidence, embedding)),
            None => {
                let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
                let needed = self.config.window.min_speech * self.config.window.length_s;
                Err(Failure::runtime(anyhow!(
                    "{}: expected an utterance of at least {needed:.1} s, found none; speak longer, closer or with less noise",
                    names.join(", ")
                )))
            }
        }
    }
}

/// What a daemon tells about itself on its retained `info` topic: among it where its models really run, and why on nothing
/// better.
pub fn info(pack: &Pack, ready: &Ready) -> serde_json::Value {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"), "schema": crate::publish::SCHEMA,
        "pack": { "name": pack.name(), "version": pack.version(), "licence": pack.licence() },
        "models": {
            "provider": ready.device().to_string(), "refused": ready.refused(),
            "precision": pack.precision(),
        },
    })
}
