//! Error responses: a status and one sentence, as JSON.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::Error;

/// An error response.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    message: String,
    /// Seconds for `Retry-After`.
    retry_after: Option<u64>,
    /// Methods for `Allow`.
    allow: Option<&'static str>,
}

impl Fault {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, allow: None }
    }

    /// A malformed request.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A malformed part of a request.
    pub fn expected(
        what: impl std::fmt::Display,
        expected: impl std::fmt::Display,
        received: impl std::fmt::Display,
    ) -> Self {
        let received = crate::error::begun(received, crate::error::RECEIVED);
        Self::bad(format!("{what}: expected {expected}, received {received}"))
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// Over capacity.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub fn method(allow: &'static str, received: &axum::http::Method) -> Self {
        let message = format!("expected the method {allow}, received {received}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match cause(&error) {
            Error::Memory { .. } => Self::too_large(message),
            Error::Io { .. } | Error::Device { .. } | Error::State { .. } | Error::Thread { .. } => {
                tracing::error!("{message}");
                Self::internal(message)
            }
            _ => Self::bad(message),
        }
    }
}

/// The cause of an error: of a layer's error, the error inside.
pub(super) fn cause(error: &Error) -> &Error {
    match error {
        Error::Layer { source, .. } => cause(source),
        _ => error,
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = crate::text::escaped_json(&json!({ "error": self.message }).to_string());
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) type FaultResult<T> = Result<T, Fault>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_what_is_in_a_layer() {
        let status = |error: Error| Fault::from(error).into_response().status().as_u16();
        let memory = || Error::Memory { needs: "a batch".into(), bytes: 2, most: 1, what: "the memory limit" };
        let within =
            |source: Error| Error::Layer { layer: "a".into(), class_name: "Dense".into(), source: Box::new(source) };
        assert_eq!((status(memory()), status(within(within(memory())))), (413, 413));
        assert_eq!(status(within(Error::data("x", "y", "z"))), 400);
    }
}
