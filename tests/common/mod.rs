//! What several integration tests share: brokers and subscribers, a virtual sound card, voices, the program itself and a
//! terminal for it.

// Each test program uses its own part of this.
#![allow(dead_code)]

pub mod alsa;
pub mod broker;
pub mod listener;
pub mod packs;
pub mod place;
pub mod program;
pub mod sound;
pub mod terminal;

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `done`, and says what was waited for when it does not come.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < limit, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
