//! The passphrase of a file that goes elsewhere: from a file, the environment, or whoever sits at the terminal.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use crate::store::passphrase_of;

use super::Failure;

/// For programs. Not the store's own variable: a file that leaves should not be opened by what opens the store.
const VARIABLE: &str = "EARWITNESS_EXPORT_PASSPHRASE";

/// Asks for it, twice where it is a new one.
pub(super) fn passphrase(file: Option<&Path>, is_new: bool) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = file {
        return Ok(passphrase_of(file)?);
    }
    if let Ok(text) = std::env::var(VARIABLE) {
        let text = Zeroizing::new(text);
        return match text.is_empty() {
            true => Err(Failure::usage(anyhow!(
                "{VARIABLE}: expected a passphrase, found nothing"
            ))),
            false => Ok(text),
        };
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::usage(anyhow!(
            "expected a passphrase for the file: --passphrase-file FILE, {VARIABLE}, or a terminal to ask at"
        )));
    }
    let ask = |prompt: &str| {
        let answer = rpassword::prompt_password(prompt).context("cannot read the passphrase")?;
        Ok::<_, Failure>(Zeroizing::new(answer))
    };
    let first = ask("Passphrase of the file: ")?;
    if first.is_empty() || (is_new && ask("Again: ")? != first) {
        return Err(Failure::usage(anyhow!(
            "expected the same passphrase twice, and not an empty one"
        )));
    }
    Ok(first)
}
