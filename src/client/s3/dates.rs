//! Dates in answers that are none.
//!
//! The SDK takes an answer for unreadable whose `LastModified` it cannot read, a whole page of a listing for the sake of one
//! object. Nothing here needs that date, so it is taken out before.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;

const HEADER: &str = "last-modified";
const BEGIN: &[u8] = b"<LastModified>";
const END: &[u8] = b"</LastModified>";

/// Returns whether an answer to this operation has such dates in its body.
pub(super) fn has_dates(operation: &str) -> bool {
    matches!(operation, "ListObjectsV2" | "ListParts" | "CopyObject" | "UploadPartCopy")
}

/// Takes the header of an answer out if it tells no date.
pub(super) fn drop_odd_header(response: &mut HttpResponse) {
    let is_odd = |text: &str| DateTime::from_str(text, Format::HttpDate).is_err();
    if response.headers().get(HEADER).is_some_and(is_odd) {
        response.headers_mut().remove(HEADER);
    }
}

/// Returns an answer without the elements that tell no date.
pub(super) fn without_odd(body: Bytes) -> Bytes {
    let mut kept = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(begin) = find(&body, at, BEGIN) {
        let Some(end) = find(&body, begin, END) else { break };
        at = end + END.len();
        if is_odd(&body[begin + BEGIN.len()..end]) {
            kept.extend_from_slice(&body[from..begin]);
            from = at;
        }
    }
    if from == 0 {
        return body;
    }
    kept.extend_from_slice(&body[from..]);
    kept.into()
}

fn is_odd(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap_or_default();
    DateTime::from_str(text, Format::DateTimeWithOffset).is_err()
}

/// Returns where `what` is found in `text`, at or after a position.
fn find(text: &[u8], at: usize, what: &[u8]) -> Option<usize> {
    let found = memchr::memmem::find(text.get(at..)?, what)?;
    Some(at + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_that_cannot_be_read_are_taken_out() {
        let date = "<LastModified>2026-01-02T03:04:05.006Z</LastModified>";
        for (body, expected) in [
            (format!("<a>{date}</a>"), format!("<a>{date}</a>")),
            ("<a><LastModified>yesterday</LastModified><b/></a>".into(), "<a><b/></a>".into()),
            (format!("<a><LastModified></LastModified>{date}</a>"), format!("<a>{date}</a>")),
            (format!("<a>{date}<LastModified>0</LastModified></a>"), format!("<a>{date}</a>")),
            ("<a><LastModified>2026".into(), "<a><LastModified>2026".into()),
            (
                "<LastModified>2026-01-02T03:04:05+01:00</LastModified>".into(),
                "<LastModified>2026-01-02T03:04:05+01:00</LastModified>".into(),
            ),
            (String::new(), String::new()),
        ] {
            assert_eq!(without_odd(Bytes::from(body.clone())), expected, "{body}");
        }
    }
}
