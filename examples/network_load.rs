//! Many satellites from one process: starts the daemon with streams by Wyoming, raw TCP and RTP in turn, on loopback, and
//! plays speech on a tenth of them at any moment and faint noise on the others, in real time.
//!
//! ```console
//! $ cargo run --release --example network_load -- --program target/release/earwitness --seconds 600
//! ```
//!
//! Prints a line every ten seconds, then what was lost: told (gap events) and not told (audio that was sent and that no
//! window reaches). Ends with 1 if any was lost untold.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use earwitness::audio::decode;
use earwitness::publish::{Body, Event, SourceState};

/// Plays many network streams into a daemon.
#[derive(Parser)]
struct Args {
    /// The daemon's program.
    #[arg(long, default_value = "target/release/earwitness")]
    program: PathBuf,
    /// Streams at once.
    #[arg(long, default_value_t = 200)]
    streams: u16,
    /// How long.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Speech to play.
    #[arg(long, default_value = "examples/scene/scene.flac")]
    audio: PathBuf,
    /// First port.
    #[arg(long, default_value_t = 21_000)]
    port: u16,
}

const RATE: usize = 16_000;
/// Of each minute a stream speaks for this long; the streams do so in turns.
const SPEECH_S: usize = 6;
const PERIOD_S: usize = 60;
/// Frames a datagram, and a chunk.
const DATAGRAM: usize = 320;
const CHUNK: usize = 1_024;
/// The least that is whole numbers of both.
const WHOLE: usize = 5 * CHUNK;
/// A window's end may lie this far from what was sent: the resampler's rounding.
const EXACT_S: f64 = 0.01;

enum Wire {
    Wyoming(TcpStream),
    Tcp(TcpStream),
    Rtp(UdpSocket, u16),
}

struct Satellite {
    wire: Wire,
    sent: usize,
    phase: usize,
    /// Frames by which it starts later than the first: windows of all at once would be no load that occurs.
    delay: usize,
}

impl Satellite {
    fn connect(index: u16, streams: u16, port: u16) -> Result<Self> {
        let address = ("127.0.0.1", port + index);
        let wire = match index % 3 {
            0 => Wire::Wyoming(TcpStream::connect(address)?),
            1 => Wire::Tcp(TcpStream::connect(address)?),
            _ => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(address)?;
                Wire::Rtp(socket, 0)
            }
        };
        Ok(Self {
            wire,
            sent: 0,
            phase: usize::from(index) * PERIOD_S * RATE / usize::from(streams),
            delay: usize::from(index) * RATE / usize::from(streams),
        })
    }

    fn piece(&self) -> usize {
        match self.wire {
            Wire::Rtp(..) => DATAGRAM,
            _ => CHUNK,
        }
    }

    /// Sends one piece.
    fn send(&mut self, speech: &[i16], noise: &[i16]) -> Result<()> {
        let frames = self.piece();
        let samples = (self.sent..self.sent + frames).map(|n| {
            let at = (n + self.phase) % (PERIOD_S * RATE);
            match at < SPEECH_S * RATE {
                true => speech[(at + self.phase) % speech.len()],
                false => noise[n % noise.len()],
            }
        });
        match &mut self.wire {
            Wire::Tcp(socket) => {
                let bytes: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
                socket.write_all(&bytes)?;
            }
            Wire::Wyoming(socket) => {
                let ms = self.sent * 1_000 / RATE;
                let mut bytes = format!(
                    "{{\"type\":\"audio-chunk\",\"data\":{{\"rate\":{RATE},\"width\":2,\"channels\":1,\"timestamp\":{ms}}},\"payload_length\":{}}}\n",
                    2 * frames
                )
                .into_bytes();
                bytes.extend(samples.flat_map(i16::to_le_bytes));
                socket.write_all(&bytes)?;
            }
            Wire::Rtp(socket, sequence) => {
                let mut bytes = vec![0x80, 96];
                bytes.extend(sequence.to_be_bytes());
                bytes.extend((self.sent as u32).to_be_bytes());
                bytes.extend(u32::from(socket.local_addr()?.port()).to_be_bytes());
                bytes.extend(samples.flat_map(i16::to_be_bytes));
                *sequence = sequence.wrapping_add(1);
                // A full buffer at the other end is a loss on the way.
                let _ = socket.send(&bytes);
            }
        }
        self.sent += frames;
        Ok(())
    }
}

/// What the daemon has written so far.
struct Events {
    file: BufReader<File>,
    rest: String,
    lags: Vec<f64>,
    windows: usize,
    lost: u64,
    /// By stream: where its last window ends, its epochs, whether its source is down.
    ends: Vec<(f64, u32, bool)>,
}

impl Events {
    fn read(&mut self) -> Result<()> {
        loop {
            // A file that grows: its end is not for ever.
            if self.file.read_line(&mut self.rest)? == 0 || !self.rest.ends_with('\n') {
                let at = self.file.stream_position()?;
                self.file.seek(std::io::SeekFrom::Start(at))?;
                return Ok(());
            }
            let event: Event = serde_json::from_str(&self.rest)?;
            self.rest.clear();
            let Some(end) = event
                .id
                .stream
                .strip_prefix("s")
                .and_then(|n| n.parse().ok())
                .and_then(|n: usize| self.ends.get_mut(n))
            else {
                continue;
            };
            match event.body {
                Body::Window { .. } => {
                    self.windows += 1;
                    self.lags.push(event.lag_ms);
                    end.0 = end.0.max(event.end_s);
                }
                Body::Gap { samples, .. } => self.lost += samples,
                Body::Source { state, .. } => {
                    end.1 += u32::from(state == SourceState::Up);
                    end.2 = state != SourceState::Up;
                }
                _ => (),
            }
        }
    }
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Resident MiB, and seconds of processor time so far.
fn usage(child: &Child) -> Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let (_, fields) = stat.rsplit_once(')').context("a stat line")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // User and system time, in hundredths on every Linux that this runs on.
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok((kib.context("VmRSS")? / 1024.0, ticks / 100.0))
}

fn configuration(args: &Args, folder: &Path) -> Result<PathBuf> {
    let pack = std::fs::canonicalize("models/default")?;
    let mut text = format!(
        "node = 'load'\n[models]\npack = '{}'\n[jsonl]\npath = 'events.jsonl'\n",
        pack.display()
    );
    for i in 0..args.streams {
        let kind = ["wyoming", "tcp", "udp"][usize::from(i % 3)];
        let port = args.port + i;
        text += &format!(
            "[[stream]]\nid = 's{i}'\nsource = {{ kind = '{kind}', listen = '127.0.0.1:{port}' }}\n"
        );
    }
    let path = folder.join("load.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let to_i16 = |x: &f32| (x * 32_767.0) as i16;
    let speech: Vec<i16> = decode(&args.audio, None)?.iter().map(to_i16).collect();
    ensure!(!speech.is_empty(), "{} is silent", args.audio.display());
    let noise: Vec<i16> = (0..7_919u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 30) as i16 - 1)
        .collect();
    let config = configuration(&args, folder.path())?;
    let log = File::create(folder.path().join("log"))?;
    let mut daemon = Command::new(&args.program)
        .args(["run", "-c"])
        .arg(&config)
        .stderr(log)
        .spawn()
        .with_context(|| format!("{}: build it first", args.program.display()))?;
    let outcome = play(&args, folder.path(), &mut daemon, &speech, &noise);
    let _ = daemon.kill();
    let _ = daemon.wait();
    let log = std::fs::read_to_string(folder.path().join("log"))?;
    let warnings: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("WARN") && !l.contains("waits for") && !l.contains("is down"))
        .collect();
    println!("{} other warning(s) in its log", warnings.len());
    warnings
        .iter()
        .take(5)
        .for_each(|line| println!("  {line}"));
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => bail!("audio was lost untold"),
        Err(error) => Err(error.context(log)),
    }
}

/// Whether nothing was lost untold.
fn play(
    args: &Args,
    folder: &Path,
    daemon: &mut Child,
    speech: &[i16],
    noise: &[i16],
) -> Result<bool> {
    let started = Instant::now();
    let listening = || {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        log.matches("listening").count() >= usize::from(args.streams)
    };
    while !listening() {
        ensure!(daemon.try_wait()?.is_none(), "the daemon ended");
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "the daemon does not listen"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut satellites = (0..args.streams)
        .map(|i| Satellite::connect(i, args.streams, args.port))
        .collect::<Result<Vec<_>>>()?;
    let mut events = Events {
        file: BufReader::new(
            File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(folder.join("events.jsonl"))?,
        ),
        rest: String::new(),
        lags: Vec::new(),
        windows: 0,
        lost: 0,
        ends: vec![(0.0, 0, false); usize::from(args.streams)],
    };
    let (start, mut cpu_before) = (Instant::now(), usage(daemon)?.1);
    let (mut all, mut next_line) = (Vec::new(), 10);
    let whole = args.seconds as usize * RATE / WHOLE * WHOLE;
    while satellites.iter().any(|s| s.sent < whole) {
        let due = (start.elapsed().as_secs_f64() * RATE as f64) as usize;
        for satellite in &mut satellites {
            while satellite.sent < whole.min(due.saturating_sub(satellite.delay)) {
                satellite.send(speech, noise)?;
            }
        }
        events.read()?;
        let seconds = start.elapsed().as_secs();
        if seconds >= next_line {
            let (resident, cpu) = usage(daemon)?;
            events.lags.sort_by(f64::total_cmp);
            println!(
                "{seconds:4} s: {resident:6.1} MiB, {:.2} cores, {} windows, lag p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, lost {:.1} s",
                (cpu - cpu_before) / 10.0,
                events.windows,
                percentile(&events.lags, 0.5),
                percentile(&events.lags, 0.95),
                percentile(&events.lags, 0.99),
                events.lost as f64 / RATE as f64
            );
            cpu_before = cpu;
            all.append(&mut events.lags);
            next_line += 10;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    events.read()?;
    all.append(&mut events.lags);
    all.sort_by(f64::total_cmp);
    // The last half second of each stream is analysed when its connection ends, or after 5 s without RTP: no lag of interest.
    let sent = satellites[0].sent as f64 / RATE as f64;
    drop(satellites);
    let limit = Instant::now() + Duration::from_secs(30);
    while events.ends.iter().any(|(_, _, down)| !down) && Instant::now() < limit {
        events.read()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(2));
    events.read()?;
    println!(
        "{} windows of {} streams: lag p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, worst {:.0} ms; told as lost: {:.2} s of {:.0} s",
        events.windows,
        args.streams,
        percentile(&all, 0.5),
        percentile(&all, 0.95),
        percentile(&all, 0.99),
        percentile(&all, 1.0),
        events.lost as f64 / RATE as f64,
        sent * f64::from(args.streams)
    );
    let mut untold = 0;
    for (i, (end, epochs, _)) in events.ends.iter().enumerate() {
        if (end - sent).abs() > EXACT_S || *epochs != 1 {
            untold += 1;
            println!("s{i}: sent {sent:.3} s, heard up to {end:.3} s in {epochs} epoch(s)");
        }
    }
    println!("streams with a loss that was not told: {untold}");
    Ok(untold == 0)
}
