//! A service that answers as a test tells it, and keeps a log of what it received to the byte.
//!
//! One thread per connection. Dropping it ends every connection and joins every thread.

pub mod answer;
mod conversation;

pub use conversation::{Conversation, Next};

use crate::message::{Head, read_head};
use crate::wire::{Fault, Wire};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How far the service came with a request. A request that is `Begun` was received; one that is not in the log was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The head is there.
    Begun,
    /// The body is there, whole.
    Read,
    /// The answer was given to the network, whole as far as the script goes.
    Answered,
    /// Reading or writing failed.
    Failed(String),
}

/// One request as the service received it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// The request line, the fields and the raw bytes. Of bytes that are no head: only `raw`.
    pub head: Head,
    /// What was read of the body, decoded.
    pub body: Vec<u8>,
    pub trailers: crate::Fields,
    pub progress: Progress,
}

impl Received {
    /// The target of the request line.
    pub fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The method of the request line.
    pub fn method(&self) -> &str {
        self.head.line.split(' ').next().unwrap_or_default()
    }

    /// The first value of a field; the name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

type Script = dyn Fn(&mut Conversation<'_>) -> Result<Next, Fault> + Send + Sync;

#[derive(Default)]
struct State {
    log: Vec<Received>,
    connections: Vec<Option<TcpStream>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    is_over: AtomicBool,
    script: Box<Script>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, at: usize, change: impl FnOnce(&mut Received)) {
        if let Some(received) = self.lock().log.get_mut(at) {
            change(received);
        }
        self.changed.notify_all();
    }

    fn push(&self, connection: usize, head: Head, progress: Progress) -> usize {
        let mut state = self.lock();
        state.log.push(Received { connection, head, body: Vec::new(), trailers: Vec::new(), progress });
        self.changed.notify_all();
        state.log.len() - 1
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// A raw TCP service on a free port of the loopback.
pub struct FakeService {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeService {
    /// Starts one that answers each request with `script`; see [`answer`] for ready-made ones.
    ///
    /// # Panics
    /// The system gives no port.
    pub fn start(
        script: impl Fn(&mut Conversation<'_>) -> Result<Next, Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        Self::on(listener, script)
    }

    /// Like [`FakeService::start`], on a listener that the test bound: to come back on the port of one that stopped.
    ///
    /// # Panics
    /// The listener is broken.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&mut Conversation<'_>) -> Result<Next, Fault> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
            script: Box::new(script),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As the `url:` of a service.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order in which they began.
    pub fn log(&self) -> Vec<Received> {
        self.shared.lock().log.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// Waits until the log is as wanted, at most this long; gives the log.
    ///
    /// # Errors
    /// It does not come to it: the log as it is.
    pub fn wait_until(
        &self,
        at_most: Duration,
        wanted: impl Fn(&[Received]) -> bool,
    ) -> Result<Vec<Received>, Vec<Received>> {
        let due = Instant::now() + at_most;
        let mut state = self.shared.lock();
        loop {
            if wanted(&state.log) {
                return Ok(state.log.clone());
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state.log.clone());
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes every connection that is open now, whatever happens on it.
    pub fn cut_connections(&self) {
        cut(&mut self.shared.lock());
    }

    /// Stops listening and ends every connection; the port is free afterwards.
    pub fn stop(self) {}
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // The acceptor is woken by a connection; should none be possible, it has ended already.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        cut(&mut self.shared.lock());
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut self.shared.lock().threads);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn cut(state: &mut State) {
    for stream in state.connections.iter_mut().filter_map(Option::take) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.is_over() {
            return;
        }
        let mut state = shared.lock();
        let number = state.connections.len();
        state.connections.push(stream.try_clone().ok());
        let serving = Arc::clone(shared);
        state.threads.push(std::thread::spawn(move || {
            serve(stream, number, &serving);
            if let Some(kept) = serving.lock().connections.get_mut(number) {
                *kept = None;
            }
            serving.changed.notify_all();
        }));
    }
}

fn serve(stream: TcpStream, connection: usize, shared: &Shared) {
    let Ok(mut wire) = Wire::new(stream) else { return };
    for number in 0.. {
        let head = match read_head(&mut wire, None) {
            Ok(head) => head,
            Err(Fault::Closed | Fault::Reset { .. } | Fault::Io(_)) => return,
            Err(fault) => {
                let raw = match &fault {
                    Fault::Cut { got, .. } | Fault::Malformed { got, .. } => got.clone(),
                    _ => Vec::new(),
                };
                let head = Head { raw, ..Head::default() };
                shared.push(connection, head, Progress::Failed(fault.to_string()));
                return;
            }
        };
        let at = shared.push(connection, head.clone(), Progress::Begun);
        let mut conversation = Conversation::new(&mut wire, shared, at, head, connection, number);
        let next = (shared.script)(&mut conversation);
        let is_read = conversation.is_read();
        match next {
            Ok(next) => {
                shared.update(at, |received| received.progress = Progress::Answered);
                match next {
                    // What is left of a body would be taken for a request.
                    Next::Keep if is_read => {}
                    Next::Keep | Next::Close => return,
                    Next::Reset => {
                        let kept = shared.lock().connections.get_mut(connection).and_then(Option::take);
                        drop(kept);
                        let _ = wire.reset();
                        return;
                    }
                }
            }
            Err(fault) => {
                shared.update(at, |received| received.progress = Progress::Failed(fault.to_string()));
                return;
            }
        }
    }
}
