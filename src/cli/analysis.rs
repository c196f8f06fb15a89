//! Options shared by the commands that analyse recordings.

use std::path::PathBuf;

use crate::config::{self, Config};
use crate::store::Enrolment;

use super::outcome::Failure;

/// How recordings are analysed.
#[derive(Debug, Clone, clap::Args)]
pub struct Analysis {
    /// Configuration whose models, windows, decisions and store count; without it the defaults and EARWITNESS_…__… variables.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the model pack; overrides the configuration.
    #[arg(long, value_name = "FOLDER")]
    pub pack: Option<PathBuf>,
    /// Use the pack even if nobody vouches for it whom the configuration trusts.
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Seconds a window, 1 to 10; overrides the configuration.
    #[arg(long, value_name = "SECONDS")]
    pub window: Option<f64>,
    /// Seconds from one window to the next, 0.1 to the window's length; overrides the configuration.
    #[arg(long, value_name = "SECONDS")]
    pub hop: Option<f64>,
    /// Which channel, counted from 0; without it all, mixed.
    #[arg(long, value_name = "N")]
    pub channel: Option<u16>,
}

impl Analysis {
    /// The configuration with the options laid over it.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a wrong configuration or an option out of range.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = load(self.config.as_deref())?;
        if let Some(pack) = &self.pack {
            config.models.pack.clone_from(pack);
        }
        config.models.allow_unsigned |= self.allow_unsigned;
        let window = &mut config.window;
        if let Some(length) = self.window {
            if !(1.0..=10.0).contains(&length) {
                return Err(Failure::usage(anyhow::anyhow!(
                    "--window: expected 1 to 10 seconds, found {length}"
                )));
            }
            window.length_s = length;
            // The configured hop belongs to the configured length.
            window.hop_s = window.hop_s.min(length);
        }
        if let Some(hop) = self.hop {
            let longest = window.length_s;
            if !(0.1..=longest).contains(&hop) {
                return Err(Failure::usage(anyhow::anyhow!(
                    "--hop: expected 0.1 to {longest} seconds (the window's length), found {hop}"
                )));
            }
            window.hop_s = hop;
        }
        Ok(config)
    }
}

/// A configuration file, or without one the defaults; environment overrides count in both.
///
/// # Errors
/// [`Failure::Usage`] for a wrong configuration.
pub(super) fn load(path: Option<&std::path::Path>) -> Result<Config, Failure> {
    Ok(match path {
        Some(path) => config::load(path)?,
        None => config::defaults()?,
    })
}

/// A person's name, as the store takes it.
pub(super) fn name(text: &str) -> Result<String, String> {
    Enrolment::check_name(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}
