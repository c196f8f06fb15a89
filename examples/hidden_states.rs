//! Self-supervised features of a recording without Python: every hidden state of the encoder, 50 frames a second.
//!
//! ```console
//! $ cargo run --release --example hidden_states -- examples/scene/enrol/allison_1.flac
//! ```

use std::error::Error;
use std::path::Path;

use earwitness::audio;
use earwitness::config::Provider;
use earwitness::dsp::fbank;
use earwitness::model::{Models, Pack, Runtime};
use ndarray::Axis;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("expected the path of a recording")?;
    let pack = Pack::load(Path::new("models/default"))?;
    let mut models = Models::open(Runtime::load(None)?, &pack, Provider::Auto)?;

    let samples = audio::decode(Path::new(&path), None)?;
    for (i, window) in samples.chunks(pack.window_samples()).enumerate() {
        let frames = fbank(window);
        // A rest of less than two frames of 25 ms has no hidden state.
        if frames.nrows() < 2 {
            break;
        }
        let hidden = models.encode(frames.view())?;
        let [layers, frames, dim] = hidden.shape();
        println!("window {i}: {layers} hidden states of {frames} frames × {dim}");
        for (layer, states) in hidden.view()?.axis_iter(Axis(0)).enumerate() {
            println!("  {layer}: standard deviation {:.3}", states.std(0.0));
        }
    }
    Ok(())
}
