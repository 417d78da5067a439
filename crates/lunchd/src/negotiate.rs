//! The form in which a client wants a fortune: `Accept` (RFC 9110, section 12.5.1).

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// A form in which a fortune is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Html,
    Plain,
    Json,
}

impl Form {
    const ALL: [Self; 3] = [Self::Html, Self::Plain, Self::Json];

    fn media(self) -> (&'static str, &'static str) {
        match self {
            Self::Html => ("text", "html"),
            Self::Plain => ("text", "plain"),
            Self::Json => ("application", "json"),
        }
    }
}

/// The form that a client prefers; `None` if it accepts none.
///
/// At equal weight, a form that the client names precedes one that it accepts by a wildcard. Clients that name HTML, such as
/// browsers, get HTML. Clients that accept anything, such as curl, get plain text.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Form> {
    let values: Vec<_> =
        headers.get_all(ACCEPT).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let members = || values.iter().flat_map(|value| unquoted(value, ',')).filter(|member| !member.trim().is_empty());
    // An empty list is like no list (section 5.6.1).
    if members().next().is_none() {
        return Some(Form::Plain);
    }
    let ranges: Vec<_> = members().filter_map(range).collect();
    let ranked = Form::ALL.into_iter().filter_map(|form| {
        let (kind, subtype) = form.media();
        let specific = |&&(a, b, _): &&(&str, &str, u16)| {
            let one = |range: &str, own: &str| range == "*" || range.eq_ignore_ascii_case(own);
            one(a, kind) && one(b, subtype)
        };
        // The most specific range decides.
        let &(a, b, quality) = ranges.iter().filter(specific).max_by_key(|(a, b, _)| (*a != "*", *b != "*"))?;
        let named = a != "*" && b != "*";
        let preference = match (form, named) {
            (Form::Html, true) | (Form::Plain, false) => 2,
            (Form::Plain, true) | (Form::Html, false) => 1,
            (Form::Json, _) => 0,
        };
        (quality > 0).then_some(((quality, named, preference), form))
    });
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, form)| form)
}

/// The parts of a list. A separator in a quoted string does not count (RFC 9110, section 5.6.4).
fn unquoted(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |character| {
        let literal = quoted && escaped;
        escaped = quoted && !escaped && character == '\\';
        quoted ^= character == '"' && !literal;
        !quoted && character == separator
    })
}

/// A media range and its weight in thousandths; `None` if either is invalid.
fn range(text: &str) -> Option<(&str, &str, u16)> {
    let mut parts = unquoted(text, ';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let weight = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
    });
    Some((kind, subtype, weight.unwrap_or(Some(1000))?))
}

/// A weight such as `0`, `0.123` or `1.000`: at most 1, with at most three decimal places.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let fits =
        matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|octet| octet.is_ascii_digit());
    let value: u16 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (fits && value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn of(lines: &[&str]) -> Option<Form> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, HeaderValue::from_bytes(line.as_bytes()).expect("a header"));
        }
        wanted(&headers)
    }

    #[test]
    fn each_client_gets_the_form_that_it_prefers() {
        assert_eq!(of(&[]), Some(Form::Plain));
        for empty in ["", " ", ",", " , ,"] {
            assert_eq!(of(&[empty]), Some(Form::Plain), "{empty:?}");
        }
        assert_eq!(of(&["*/*"]), Some(Form::Plain));
        assert_eq!(of(&["text/plain"]), Some(Form::Plain));
        assert_eq!(of(&["application/json"]), Some(Form::Json));
        assert_eq!(of(&["Application/JSON; charset=utf-8"]), Some(Form::Json));
        assert_eq!(of(&["application/*"]), Some(Form::Json));
        assert_eq!(of(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]), Some(Form::Html));
        assert_eq!(of(&["text/html, text/plain"]), Some(Form::Html));
        assert_eq!(of(&["text/html;q=0.4, text/plain;q=0.5"]), Some(Form::Plain));
        assert_eq!(of(&["application/json, */*"]), Some(Form::Json));
        assert_eq!(of(&["text/html;q=0.5", "application/json"]), Some(Form::Json));
        assert_eq!(of(&["text/*, text/plain;q=0"]), Some(Form::Html));
    }

    #[test]
    fn separators_in_quotes_do_not_count() {
        assert_eq!(of(&[r#"image/png;a=",text/html,", application/json"#]), Some(Form::Json));
        assert_eq!(of(&[r#"text/html;a="x;q=0", application/json;q=0.5"#]), Some(Form::Html));
        assert_eq!(of(&[r#"image/png;a="\",text/html,\\", application/json"#]), Some(Form::Json));
        assert_eq!(of(&[r#"application/json;a="é,";q=0.1, text/plain;a=\"#]), Some(Form::Plain));
        assert_eq!(of(&[r#"image/png;a=",text/html"#]), None);
    }

    #[test]
    fn a_client_that_accepts_no_form_gets_none() {
        for none in ["image/png", "text/plain;q=0", "*/*;q=0", "nonsense", "text/html;q=2", "text/html;q=x", ";,;"] {
            assert_eq!(of(&[none]), None, "{none}");
        }
    }
}
