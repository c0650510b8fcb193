//! Listens for the three services, in one thread with a runtime of its own, and does what all of them share: `/healthz`,
//! `?delay_ms=` (up to 60 s) and `?fail=` (a status from 400).

use crate::answer::{Answer, Asked, Refusal, problem, value};
use crate::{catalogue, orders, users};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

/// Three services that run until this is dropped.
#[derive(Debug)]
pub struct Demo {
    pub users: SocketAddr,
    pub orders: SocketAddr,
    pub catalogue: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts them on free ports of the loopback.
///
/// # Errors
/// The system gives no port, thread or runtime.
pub fn start() -> io::Result<Demo> {
    let [users, orders, catalogue] = [listen()?, listen()?, listen()?];
    let (stop, stopped) = oneshot::channel();
    let mut demo = Demo {
        users: users.local_addr()?,
        orders: orders.local_addr()?,
        catalogue: catalogue.local_addr()?,
        stop: Some(stop),
        thread: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("demo".into()).spawn(move || {
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            let serving = async {
                tokio::join!(
                    serve(users, "users", users::Users::default()),
                    serve(orders, "orders", orders::Orders::default()),
                    serve(catalogue, "catalogue", catalogue::Catalogue::default()),
                )
            };
            // The tasks of the connections end with the runtime.
            tokio::select! {
                _ = serving => {}
                _ = stopped => {}
            }
        });
    })?;
    demo.thread = Some(thread);
    Ok(demo)
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What one of the services does.
pub(crate) trait Service: 'static {
    fn answer(&mut self, asked: &Asked) -> Result<Answer, Refusal>;
}

async fn serve(listener: TcpListener, name: &'static str, service: impl Service) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let service = Rc::new(RefCell::new(service));
    let mut connections = JoinSet::new();
    loop {
        // Out of descriptors, say: the connection is lost, the service is not.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let service = Rc::clone(&service);
        let answering = service_fn(move |request| respond(Rc::clone(&service), name, request));
        connections.spawn_local(async move {
            // A client that goes away is none of the demo's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answering)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn respond(
    service: Rc<RefCell<impl Service>>,
    name: &'static str,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let asked = match Asked::read(request).await {
        Ok(asked) => asked,
        Err(refusal) => return Ok(*refusal),
    };
    if let Some(delay) = asked.number("delay_ms", 60_000) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    if let Some(status) = asked.number("fail", 599).filter(|status| *status >= 400) {
        return Ok(*problem(status as u16, "it fails on demand"));
    }
    if let ("GET" | "HEAD", ["healthz"]) = (asked.method.as_str(), asked.path().1.as_slice()) {
        return Ok(value(200, &json!({ "service": name, "healthy": true })));
    }
    let answer = service.borrow_mut().answer(&asked);
    Ok(answer.unwrap_or_else(|refusal| *refusal))
}
