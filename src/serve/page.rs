//! The page on which models can be tried: all of it in the binary, nothing from elsewhere.

use std::borrow::Cow;

use axum::extract::OriginalUri;
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Nothing but what this server has, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

fn file(kind: &'static str, text: impl Into<Cow<'static, str>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text.into()).into_response()
}

/// `/`; or, in a router of a program's own, the path below which all of it is, with a slash behind it or without.
pub(super) async fn html(OriginalUri(uri): OriginalUri) -> Response {
    let page = include_str!("page/page.html");
    let kind = "text/html; charset=utf-8";
    match base(uri.path()) {
        Some(base) => file(kind, page.replacen("<head>\n", &format!("<head>\n<base href=\"{base}/\">\n"), 1)),
        None => file(kind, page),
    }
}

/// What the page's relative addresses begin with, where it is at a path without a slash behind it.
fn base(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next()?;
    let is_plain = last.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte));
    (!last.is_empty() && is_plain).then_some(last)
}

/// `/page.js`.
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

/// `/page.css`.
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}
