//! Says how long each stage takes for one window on one thread with a model pack:
//!
//! ```text
//! cargo run --release --example profile_pack -- [pack folder] [runs]
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use earwitness::config::Provider;
use earwitness::dsp::{SpectralView, fbank};
use earwitness::model::{Memory, ModelError, Models, Moment, Pack, Runtime, Stretch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(|| PathBuf::from("models/default"), PathBuf::from);
    let runs: usize = arguments.next().map_or(Ok(30), |n| n.parse())?;

    let runtime = Runtime::load(None)?;
    let started = Instant::now();
    let pack = Pack::load(&folder)?;
    let hashed = started.elapsed();
    let mut models = Models::open(runtime, &pack, Provider::Cpu)?;
    println!(
        "runtime   {} ({})",
        runtime.path().display(),
        runtime.build()
    );
    println!(
        "pack      {} {}, {}",
        pack.name(),
        pack.version(),
        pack.licence()
    );
    println!(
        "load      {hashed:.1?} manifest and hashes, {:.1?} in all",
        started.elapsed()
    );

    // A gliding tone over noise: no denormals, no silence.
    let mut state = 1u32;
    let window: Vec<f32> = (0..pack.window_samples())
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let t = n as f32 / 16_000.0;
            0.2 * (std::f32::consts::TAU * (120.0 + 50.0 * t) * t).sin()
                + 0.02 * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        })
        .collect();
    let seconds = window.len() as f64 / 16_000.0;
    let mut view = SpectralView::new();
    let features = fbank(&window);
    let hidden = models.encode(features.view())?;

    println!(
        "\n{:<10}{:>10}{:>10}   one window of {seconds:.1} s, {runs} runs, {}",
        "stage",
        "best ms",
        "median ms",
        models.provider()
    );
    let mut total = 0.0;
    total += report("fbank", runs, || Ok(fbank(&window)))?;
    // Part of what the spoof head takes.
    report("spectral", runs, || Ok(view.compute(&window)))?;
    total += report("vad", runs, || models.speech(features.view()))?;
    total += report("encoder", runs, || models.encode(features.view()))?;
    // What a stream costs a second, one window after the other; of an encoder that cannot go on, the same again.
    let (mut memory, mut first_sample) = (Memory::default(), 0);
    report("streaming", runs, || {
        let stretch = Stretch {
            samples: &window,
            wide: &[],
            fbank: features.view(),
        };
        let moment = Moment {
            run: 0,
            first_sample,
        };
        first_sample += 16_000;
        let memories = std::slice::from_mut(&mut memory);
        let heard = models.hear_on(&[(stretch, moment, 0)], memories);
        heard.into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    total += report("speaker", runs, || models.embed(&hidden))?;
    total += report("spoof", runs, || models.genuine(&hidden, &window))?;
    println!(
        "{:<10}{total:>10.2}   {:.4} of real time when windows do not overlap",
        "all",
        total / 1000.0 / seconds
    );
    Ok(())
}

/// Runs a stage, prints and returns its best time in milliseconds.
fn report<T>(
    name: &str,
    runs: usize,
    mut stage: impl FnMut() -> Result<T, ModelError>,
) -> Result<f64, ModelError> {
    stage()?;
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs.max(1) {
        let started = Instant::now();
        stage()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    // The best shows the work, the median what else this machine was doing.
    let (best, median) = (ms(times[0]), ms(times[times.len() / 2]));
    println!("{name:<10}{best:>10.2}{median:>10.2}");
    Ok(best)
}
