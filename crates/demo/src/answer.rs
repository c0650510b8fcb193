//! Requests and answers as the demo services see them: JSON in, JSON out, and two kinds of streams. No business here.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// The largest body that a service reads: 64 KiB.
const MOST_BYTES: usize = 64 * 1024;
/// One piece of a download.
const PIECE: &[u8] = &[b'.'; 16 * 1024];
/// Between two events.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) type Answer = Response<Content>;
/// An answer that refuses; boxed, because it is the rare one.
pub(crate) type Refusal = Box<Answer>;

/// A request, taken apart.
pub(crate) struct Asked {
    pub(crate) method: String,
    /// The path without its first slash, in segments.
    pub(crate) segments: Vec<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// Reads a request whole.
    ///
    /// # Errors
    /// The answer to a body that is too large or breaks off.
    pub(crate) async fn read(request: Request<Incoming>) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let segments = head.uri.path().trim_start_matches('/').split('/').map(str::to_owned).collect();
        let pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(|_| problem(413, "the body has more than 64 KiB, or broke off"))?;
        Ok(Self { method: head.method.to_string(), segments, query, body: body.to_bytes().to_vec() })
    }

    /// A number of the query, at most `most`.
    pub(crate) fn number(&self, name: &str, most: u64) -> Option<u64> {
        self.query.get(name)?.parse().ok().map(|number: u64| number.min(most))
    }

    /// The body as a JSON object.
    ///
    /// # Errors
    /// The answer to a body that is none.
    pub(crate) fn object(&self) -> Result<Value, Refusal> {
        match serde_json::from_slice(&self.body) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(problem(422, "the body is not a JSON object")),
            Err(error) => Err(problem(400, &format!("the body is not JSON: {error}"))),
        }
    }

    /// Method and segments, to match on.
    pub(crate) fn path(&self) -> (&str, Vec<&str>) {
        (self.method.as_str(), self.segments.iter().map(String::as_str).collect())
    }
}

/// What an answer holds.
pub(crate) enum Content {
    Whole(Option<Bytes>),
    /// So many bytes are still to come.
    Download(u64),
    Events {
        next: u64,
        last: u64,
        pause: Pin<Box<Sleep>>,
    },
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Download(0) => None,
            Self::Download(left) => {
                let now = PIECE.len().min(usize::try_from(*left).unwrap_or(PIECE.len()));
                *left -= now as u64;
                Some(Bytes::from_static(&PIECE[..now]))
            }
            Self::Events { next, last, .. } if *next > *last => None,
            Self::Events { next, pause, .. } => {
                std::task::ready!(pause.as_mut().poll(cx));
                *pause = Box::pin(tokio::time::sleep(PAUSE));
                *next += 1;
                Some(Bytes::from(format!("id: {0}\ndata: {{\"event\":{0}}}\n\n", *next - 1)))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Download(left) => hyper::body::SizeHint::with_exact(*left),
            Self::Events { .. } => hyper::body::SizeHint::default(),
        }
    }
}

fn answer(status: u16, kind: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// JSON.
pub(crate) fn value(status: u16, value: &Value) -> Answer {
    answer(status, "application/json", Content::Whole(Some(Bytes::from(format!("{value}\n")))))
}

/// 201 with the place of what was made.
pub(crate) fn created(place: &str, made: &Value) -> Answer {
    let mut answer = value(201, made);
    if let Ok(place) = HeaderValue::from_str(place) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer
}

/// 204.
pub(crate) fn nothing() -> Answer {
    let mut answer = answer(204, "application/json", Content::Whole(None));
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// An error of the service's own, which tells it from one of the gateway's.
pub(crate) fn problem(status: u16, what: &str) -> Refusal {
    Box::new(value(status, &json!({ "error": what, "from": "the demo service" })))
}

/// So many bytes.
pub(crate) fn download(bytes: u64) -> Answer {
    answer(200, "application/octet-stream", Content::Download(bytes))
}

/// Server-sent events, five a second.
pub(crate) fn events(count: u64) -> Answer {
    let pause = Box::pin(tokio::time::sleep(Duration::ZERO));
    answer(200, "text/event-stream", Content::Events { next: 1, last: count, pause })
}
