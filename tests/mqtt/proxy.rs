//! A TCP proxy that can be cut in the middle of a connection, and be kept closed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    stalled: AtomicBool,
    accepted: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let inner = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                inner.accepted.fetch_add(1, SeqCst);
                if inner.closed.load(SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                    continue;
                };
                inner
                    .open
                    .lock()
                    .unwrap()
                    .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let (c, s) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                pipe(c, s, inner.clone());
                pipe(server, client, inner.clone());
            }
        });
        Self { port, shared }
    }

    /// Ends every connection without an MQTT goodbye, and lets no new one through until [`Proxy::open`].
    pub fn cut(&self) {
        self.shared.closed.store(true, SeqCst);
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The same, with `happening` between: what the broker sent before is passed on first.
    pub fn cut_after(&self, happening: impl FnOnce()) {
        self.shared.closed.store(true, SeqCst);
        happening();
        self.cut();
    }

    pub fn open(&self) {
        self.shared.closed.store(false, SeqCst);
    }

    /// Passes nothing on until [`Proxy::go_on`], but keeps every connection.
    pub fn stall(&self) {
        self.shared.stalled.store(true, SeqCst);
    }

    pub fn go_on(&self) {
        self.shared.stalled.store(false, SeqCst);
    }

    /// Connections that came in so far, refused ones included.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream, shared: Arc<Shared>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = from.read(&mut buffer) {
            while shared.stalled.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            if n == 0 || to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
