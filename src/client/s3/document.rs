//! The shape of an answer in XML: one document, whole, each element closed by its own end.
//!
//! The SDK's reader looks for what it wants and stops there. An answer in which two documents follow each
//! other, or an end is missing or one too many, is a shorter answer to it. This reader knows nothing but tags
//! and is asked before the SDK is believed.

/// What is no tag: how it begins and ends. Anything else that begins `<!` declares something, which no store
/// has reason to.
const ASIDE: [(&str, &str); 3] = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")];

/// Returns how many elements `name` stand directly in the root element; `None` if `body` is not one whole
/// document.
pub(super) fn children(body: &[u8], name: &str) -> Option<usize> {
    let text = std::str::from_utf8(body).ok()?;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut open, mut count, mut roots) = (Vec::new(), 0, 0);
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        if open.is_empty() && !before.trim().is_empty() {
            return None;
        }
        if let Some((start, end)) = ASIDE.into_iter().find(|(start, _)| tag.starts_with(start)) {
            let behind = tag.get(start.len()..)?.split_once(end)?.1;
            rest = behind;
            continue;
        }
        let (inside, behind) = split_tag(tag)?;
        rest = behind;
        if let Some(ended) = inside.strip_prefix('/') {
            if open.pop() != Some(ended.trim_end()) {
                return None;
            }
            continue;
        }
        let begun = inside.split([' ', '\t', '\r', '\n', '/']).next()?;
        if begun.is_empty() || begun.starts_with('!') {
            return None;
        }
        match open.len() {
            0 => roots += 1,
            1 => count += usize::from(begun.rsplit(':').next() == Some(name)),
            _ => {}
        }
        if !inside.ends_with('/') {
            open.push(begun);
        }
    }
    (open.is_empty() && roots == 1 && rest.trim().is_empty()).then_some(count)
}

/// Returns what is in the tag at the beginning of `text`, and what is behind it. What is in quotes does not
/// end it.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let end = text.char_indices().find_map(|(at, character)| {
        match (quote, character) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        None
    })?;
    Some((text.get(1..end)?, text.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b55_only_one_whole_document_is_one() {
        for (body, expected) in [
            ("<r></r>", Some(0)),
            ("<?xml version=\"1.0\"?>\n<r a='>' b=\"/>\"><c>x</c><c/><d><c/></d></r>\r\n", Some(2)),
            ("\u{feff}<r><n:c></n:c><c ></c ></r>", Some(2)),
            ("<r><!-- <c> --><![CDATA[<c>]]><c/></r><!-- end -->", Some(1)),
            ("", None),
            ("text", None),
            ("<r>", None),
            ("<r><c></r>", None),
            ("<r></c></r>", None),
            ("<r><c></d></r>", None),
            ("<r></r><r></r>", None),
            ("<r></r>text", None),
            ("text<r></r>", None),
            ("<r></r", None),
            ("<r a=\"></r>", None),
            ("<r><!-- </r>", None),
            ("<r><!--></r>", None),
            ("<!DOCTYPE r [<!ENTITY e \"eeee\">]><r>&e;</r>", None),
            ("<r><></r>", None),
        ] {
            assert_eq!(children(body.as_bytes(), "c"), expected, "{body}");
        }
        assert_eq!(children(b"<r>\xff</r>", "c"), None);
    }

    #[test]
    fn b55_a_million_levels_are_a_million_levels() {
        let deep = format!("<r>{}{}</r>", "<a>".repeat(1_000_000), "</a>".repeat(1_000_000));
        assert_eq!(children(deep.as_bytes(), "c"), Some(0));
    }
}
