//! `POST /predict/NAME`: an image, rows, a text or numbers as they are, and the answer of `brasa predict --json`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::block::{Block, BlockBuilder, Values};
use super::budget::RequestLimits;
use super::fault::{Fault, FaultResult};
use super::gate::{Address, find, json_response, predict as serve, target};
use super::json::{self, write_nested, write_text};
use super::queue::Done;
use super::registry;
use super::signature::{Signature, Subject, ValueKind};
use super::table;
use crate::training::TOP_CLASSES;

/// Everything below `/predict/`.
pub(super) async fn predict(
    State(shared): State<Arc<Shared>>,
    Address(address): Address,
    method: Method,
    request: Request,
) -> Response {
    answer(shared, &address, method, request).await.unwrap_or_else(Fault::into_response)
}

async fn answer(shared: Arc<Shared>, address: &str, method: Method, request: Request) -> FaultResult<Response> {
    let (name, version, rest) = target(address)?;
    if !rest.is_empty() {
        return Err(Fault::not_found("expected /predict/NAME or /predict/NAME/versions/V"));
    }
    let served = find(&shared, name, version)?;
    if method != Method::POST {
        return Err(Fault::method("POST", &method));
    }
    let top = top(request.uri().query().unwrap_or_default())?;
    let decode = move |body: &[u8], headers: &HeaderMap, signature: &Signature, allowed: &RequestLimits| {
        let (names, blocks) = decode(body, headers, signature, allowed)?;
        take_classes(signature, names.len(), top, allowed)?;
        Ok((names, blocks))
    };
    let encode =
        move |names: Vec<String>, done: Done, served: &registry::ServedModel| encode(&names, top, &done, served);
    Ok(serve(shared, served, request, decode, encode).await)
}

/// The number of classes to return: `?top=N`.
fn top(query: &str) -> FaultResult<usize> {
    let mut top = TOP_CLASSES;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (key, value.parse()) {
            ("top", Ok(count @ 1..)) => top = count,
            ("top", _) => return Err(Fault::expected("`top`", "a number above 0", format!("`{value}`"))),
            _ => {
                let key = crate::error::begun(key, 60);
                return Err(Fault::bad(format!("unknown parameter `{key}`; valid: `top`")));
            }
        }
    }
    Ok(top)
}

/// Takes the memory of the classes in an answer: their names and what is around them.
fn take_classes(signature: &Signature, rows: usize, top: usize, allowed: &RequestLimits) -> FaultResult<()> {
    /// Bytes of a class without its name.
    const BYTES: usize = 80;
    let [output] = &signature.outputs[..] else { return Ok(()) };
    if signature.answers.is_none() {
        return Ok(());
    }
    let classes = output.sample.iter().flatten().fold(1usize, |all, size| all.saturating_mul(*size)).min(top);
    allowed.share.take(rows.saturating_mul(classes).saturating_mul(BYTES + 2 * signature.name_bytes))
}

/// The samples of a body, and what each is called.
pub(super) fn decode(
    body: &[u8],
    headers: &HeaderMap,
    signature: &Signature,
    allowed: &RequestLimits,
) -> FaultResult<(Vec<String>, Vec<Block>)> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let begins = body.trim_ascii_start().first().copied();
    // Without a type, and with that of forms which `curl --data` says of anything, the body itself tells.
    let is_json = match kind.as_str() {
        "application/json" => true,
        "text/plain" | "text/csv" => false,
        _ => matches!(begins, Some(b'[' | b'{' | b'"')),
    };
    if body.is_empty() {
        let expected = match signature.subject {
            Subject::Image => "an image (PNG, JPEG, BMP, GIF or WebP) or numbers in JSON",
            Subject::Table => "rows as CSV or JSON",
            Subject::Text => "a text, or texts in JSON",
            Subject::Numbers => "numbers in JSON",
        };
        return Err(Fault::expected("the body", expected, "nothing"));
    }
    let is_text = kind.starts_with("text/") || kind == "application/json";
    if kind.starts_with("image/") || (!is_text && is_image(body)) {
        return image(body, signature, allowed);
    }
    if signature.subject == Subject::Table || (kind == "text/csv" && signature.subject == Subject::Numbers) {
        let (names, block) = if is_json && !is_nested(body) {
            table::json(body, signature, allowed)?
        } else if is_json {
            return bare(body, signature, allowed);
        } else {
            table::csv(body, signature, allowed)?
        };
        return Ok((names, vec![block]));
    }
    match &signature.inputs[..] {
        [port] if port.kind == ValueKind::Text && !is_json => {
            let text = std::str::from_utf8(body)
                .map_err(|_| Fault::expected(format!("input `{}`", port.name), "a text in UTF-8", "other bytes"))?;
            let shape: Vec<usize> = std::iter::once(1).chain(port.sample.iter().map(|_| 1)).collect();
            let block = Block::new(port, &shape, Values::Text(vec![text.to_owned()]))?;
            Ok((vec!["text".into()], vec![block]))
        }
        _ if is_json => bare(body, signature, allowed),
        _ => {
            let expected = match signature.subject {
                Subject::Image => "an image (PNG, JPEG, BMP, GIF or WebP) or JSON",
                _ => "JSON",
            };
            Err(Fault::expected("the body", expected, "something else"))
        }
    }
}

/// Numbers or texts in JSON.
fn bare(body: &[u8], signature: &Signature, allowed: &RequestLimits) -> FaultResult<(Vec<String>, Vec<Block>)> {
    let blocks = json::bare(body, signature, allowed)?;
    let rows = blocks.first().map_or(0, |block| block.rows);
    Ok(((1..=rows).map(|row| format!("row {row}")).collect(), blocks))
}

/// Whether JSON is nested three lists deep: windows of rows instead of rows.
fn is_nested(body: &[u8]) -> bool {
    let mut begin = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    (0..3).all(|_| begin.next() == Some(&b'['))
}

fn image(body: &[u8], signature: &Signature, allowed: &RequestLimits) -> FaultResult<(Vec<String>, Vec<Block>)> {
    let [port] = &signature.inputs[..] else {
        let names = Signature::names(&signature.inputs);
        return Err(Fault::expected("the body", format!("JSON with the inputs {names}"), "an image"));
    };
    let mut taken = BlockBuilder::new(port, allowed);
    let added = taken.bytes(1, body.to_vec()).and_then(|()| taken.rows(1));
    added.map_err(|message| allowed.refused().unwrap_or_else(|| Fault::bad(message)))?;
    Ok((vec!["picture".into()], vec![taken.block()?]))
}

/// Recognises image files by their magic bytes.
fn is_image(body: &[u8]) -> bool {
    let webp = body.starts_with(b"RIFF") && body.get(8..12) == Some(b"WEBP");
    let bitmap = body.starts_with(b"BM") && body.get(6..10) == Some(&[0; 4]);
    let starts: [&[u8]; 3] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"];
    webp || bitmap || starts.iter().any(|start| body.starts_with(start))
}

fn encode(names: &[String], top: usize, done: &Done, served: &registry::ServedModel) -> FaultResult<Response> {
    let mut out = vec![b'['];
    for (row, name) in names.iter().enumerate() {
        if row > 0 {
            out.push(b',');
        }
        let answers = served.signature.answers.as_ref();
        if let ([output], Some(answers)) = (&done.outputs[..], answers)
            && answers.classes(output.row(row), 1).is_some()
        {
            let json = answers.json(name, output.row(row), top);
            out.extend_from_slice(crate::text::escaped_json(&json.to_string()).as_bytes());
            continue;
        }
        out.extend_from_slice(b"{\"input\":");
        write_text(&mut out, name);
        match &done.outputs[..] {
            [output] => {
                out.extend_from_slice(b",\"output\":");
                write_nested(&mut out, output.row(row), &output.shape[1..]);
            }
            outputs => {
                out.extend_from_slice(b",\"outputs\":");
                for (index, (output, port)) in outputs.iter().zip(&served.signature.outputs).enumerate() {
                    out.push(if index == 0 { b'{' } else { b',' });
                    write_text(&mut out, &port.name);
                    out.push(b':');
                    write_nested(&mut out, output.row(row), &output.shape[1..]);
                }
                out.push(b'}');
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]\n");
    Ok(json_response(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_top_is_asked_for() {
        assert_eq!((top("").unwrap(), top("top=5").unwrap()), (3, 5));
        assert!(top("top=0").is_err() && top("top=x").is_err() && top("threshold=1").is_err());
    }

    #[test]
    fn images_are_told_by_their_first_bytes() {
        assert!(is_image(b"\x89PNG\r\n\x1a\n...") && is_image(b"RIFF....WEBPVP8 "));
        assert!(!is_image(b"BMI,age\n") && !is_image(b"") && !is_image(b"RIFF"));
        assert!(is_nested(b" [\n[ [1") && !is_nested(b"[[1,2]]") && !is_nested(b"["));
    }
}
