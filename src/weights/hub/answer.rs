//! What an answer's headers say: where the bytes are in the file, how long to wait, who is meant.

use std::time::Duration;

use chrono::{DateTime, Utc};
use fluent_uri::{Uri as Address, UriRef};
use ureq::http::{HeaderMap, Uri};

/// A header's text; empty if there is none, or none that can be shown.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

/// An ETag without what says that it is a weak one, and without its quotes, which some servers leave out: as
/// huggingface_hub keeps it.
pub(super) fn etag(header: &str) -> &str {
    header.strip_prefix("W/").unwrap_or(header).trim_matches('"')
}

/// Length of the file in a partial answer that begins at `at`.
pub(super) fn content_range(headers: &HeaderMap, at: u64) -> Option<u64> {
    let (range, file_len) =
        text(headers, "Content-Range").strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    (start.parse() == Ok(at)).then(|| file_len.parse().ok())?
}

/// After what time a server wants to be asked again: `RateLimit` where a limit is used up, else `Retry-After`.
pub(super) fn again_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    rate_limit(text(headers, "RateLimit"))
        .or_else(|| retry_after(text(headers, "Retry-After"), now))
}

/// The longest time until a limit that is used up begins anew, of `"NAME";r=REST;t=SECONDS, ...` as in
/// draft-ietf-httpapi-ratelimit-headers (Hugging Face: `"resolvers";r=0;t=12`).
fn rate_limit(header: &str) -> Option<Duration> {
    outside_quotes(header, ',')
        .filter_map(|item| {
            let mut parts = outside_quotes(item, ';').map(str::trim);
            let name = parts.next()?;
            if name.is_empty() {
                return None;
            }
            let (mut rest, mut seconds) = (None, None);
            for part in parts {
                let (key, value) = part.split_once('=')?;
                match key.trim() {
                    "r" => rest = value.trim().parse::<u64>().ok(),
                    "t" => seconds = value.trim().parse::<u64>().ok(),
                    _ => {}
                }
            }
            (rest == Some(0)).then_some(seconds?)
        })
        .max()
        .map(Duration::from_secs)
}

/// Parts of a text between separators that are in no quotes.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let is_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && !is_escaped => escaped = true,
            '"' if !is_escaped => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

/// Seconds, or a date; none of it lies in the past.
fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?.with_timezone(&Utc);
    Some((date - now).to_std().unwrap_or_default())
}

/// Where a redirect leads; `None` where it leads nowhere that can be asked, or from a secure connection to an open one.
pub(super) fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    if location.is_empty() {
        return None;
    }
    let base = from.to_string();
    let base = Address::parse(base.as_str()).ok()?;
    let address = UriRef::parse(location).ok()?.resolve_against(&base).ok()?;
    let to = address.as_str().split('#').next()?.parse::<Uri>().ok()?;
    let is_allowed = match to.scheme_str() {
        Some("https") => true,
        Some("http") => from.scheme_str() == Some("http"),
        _ => false,
    };
    (is_allowed && to.host().is_some_and(|host| !host.is_empty())).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn redirects_never_leave_a_secure_connection() {
        let to = |from: &str, location| {
            redirected(&from.parse().unwrap(), location).map(|uri| uri.to_string())
        };
        let hub = "https://hub.example:1/a/x?q";
        for (location, uri) in [
            ("/y?z", "https://hub.example:1/y?z"),
            ("//cdn.example/y", "https://cdn.example/y"),
            ("https://cdn.example/y", "https://cdn.example/y"),
            ("HTTPS://cdn.example/y#part", "https://cdn.example/y"),
            ("y", "https://hub.example:1/a/y"),
            ("../y", "https://hub.example:1/y"),
            ("./y", "https://hub.example:1/a/y"),
            ("?z", "https://hub.example:1/a/x?z"),
        ] {
            assert_eq!(to(hub, location).as_deref(), Some(uri), "{location}");
        }
        for bad in ["http://cdn.example/y", "file:///etc/passwd", "", "http://", "https://", "a b"]
        {
            assert_eq!(to(hub, bad), None, "{bad}");
        }
        assert!(to("http://127.0.0.1:1/x", "http://127.0.0.1:2/y").is_some());
    }

    #[test]
    fn ranges_are_those_that_were_asked_for() {
        let len = |value: &str, at| content_range(&headers(&[("Content-Range", value)]), at);
        assert_eq!(len("bytes 5-9/100", 5), Some(100));
        for bad in ["bytes 5-9/100", "bytes 6-9/*", "bytes */100", "items 6-9/100", "", "bytes 6/9"]
        {
            assert_eq!(len(bad, 6), None, "{bad}");
        }
    }

    #[test]
    fn etags_are_kept_as_pythons_client_keeps_them() {
        for header in ["\"a-1\"", "W/\"a-1\"", "a-1"] {
            assert_eq!(etag(header), "a-1");
        }
        assert_eq!(etag(""), "");
    }

    #[test]
    fn servers_say_in_several_ways_when_to_come_back() {
        let now = DateTime::parse_from_rfc2822("Wed, 21 Oct 2015 07:28:00 GMT").unwrap().to_utc();
        let after = |pairs: &[(&'static str, &str)]| {
            again_after(&headers(pairs), now).map(|after| after.as_secs())
        };
        for (limit, seconds) in [
            (r#""resolvers";r=0;t=12"#, Some(12)),
            (r#""api";r=7;t=55"#, None),
            (r#""api";r=7;t=55, "resolvers";r=0;t=3"#, Some(3)),
            (r#""a,b;r=1";r=0;t=3, "c" ; t=9 ; r=0"#, Some(9)),
            (r#""a\"";r=0;t=4"#, Some(4)),
            (r#""resolvers";r=0"#, None),
            (r#""resolvers";r=0;t=x"#, None),
            ("", None),
        ] {
            assert_eq!(after(&[("RateLimit", limit)]), seconds, "{limit}");
        }
        assert_eq!(after(&[("Retry-After", "120")]), Some(120));
        assert_eq!(after(&[("Retry-After", "Wed, 21 Oct 2015 07:29:30 GMT")]), Some(90));
        assert_eq!(after(&[("Retry-After", "Wed, 21 Oct 2015 07:00:00 GMT")]), Some(0));
        for bad in ["", "-1", "soon", "99999999999999999999999"] {
            assert_eq!(after(&[("Retry-After", bad)]), None, "{bad}");
        }
        let both = [("Retry-After", "120"), ("RateLimit", r#""resolvers";r=0;t=12"#)];
        assert_eq!(after(&both), Some(12));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_limit_is_found_among_others_whatever_its_name(
            name in "[ -~]{0,12}",
            seconds in 0u64..1_000_000,
            others in proptest::collection::vec(("[a-z,;=]{1,6}", 1u64..9, 0u64..9_000_000), 0..4),
            at in any::<prop::sample::Index>(),
        ) {
            let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
            let mut items: Vec<String> =
                others.iter().map(|(name, r, t)| format!("\"{name}\";r={r};t={t}")).collect();
            let at = at.index(items.len() + 1);
            items.insert(at, format!("\"{quoted}\"; r=0; t={seconds}"));
            prop_assert_eq!(rate_limit(&items.join(", ")), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn no_header_is_a_panic(header in "\\PC{0,60}", from in "https?://[a-z]{1,5}(:[0-9]{1,4})?/[a-z/]{0,6}") {
            let _ = (rate_limit(&header), retry_after(&header, DateTime::UNIX_EPOCH), etag(&header));
            let from: Uri = from.parse().unwrap();
            if let Some(to) = redirected(&from, &header) {
                prop_assert!(to.scheme_str() == Some("https") || from.scheme_str() == Some("http"));
            }
        }
    }
}
