//! A fortune as HTML, JSON and plain text.

use super::negotiate::Form;

/// The style sheet of the page.
pub(super) const STYLE: &str = include_str!("style.css");

/// A fortune in the given form, and its media type.
pub(super) fn rendered(fortune: &str, form: Form) -> (&'static str, String) {
    let text = fortune.trim_end_matches('\n');
    match form {
        Form::Plain => ("text/plain; charset=utf-8", format!("{text}\n")),
        Form::Json => ("application/json", format!("{}\n", serde_json::json!({ "text": text }))),
        Form::Html => {
            let title = escaped(text.lines().next().unwrap_or_default());
            let text = escaped(text);
            ("text/html; charset=utf-8", format!(include_str!("page.html"), title = title, text = text))
        }
    }
}

/// Escapes a text for an HTML element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_fortune_is_escaped() {
        let fortune = "</h1><script>alert('{title}')</script> & \"{text}\"\n";
        let (_, html) = rendered(fortune, Form::Html);
        let shown = "&lt;/h1&gt;&lt;script&gt;alert(&#39;{title}&#39;)&lt;/script&gt; &amp; &quot;{text}&quot;";
        assert!(
            html.contains(&format!("<h1>{shown}</h1>")) && html.contains(&format!("<title>{shown}</title>")),
            "{html}"
        );
        assert!(!html.contains("<script"));
    }

    #[test]
    fn every_form_holds_the_whole_fortune() {
        let fortune = "one \"quoted\"\ntwo\n";
        assert_eq!(rendered(fortune, Form::Plain).1, fortune);
        assert_eq!(rendered(fortune, Form::Json).1, "{\"text\":\"one \\\"quoted\\\"\\ntwo\"}\n");
        assert!(rendered(fortune, Form::Html).1.contains("<h1>one &quot;quoted&quot;\ntwo</h1>"));
        assert!(rendered(fortune, Form::Html).1.contains("<title>one &quot;quoted&quot;</title>"));
    }
}
