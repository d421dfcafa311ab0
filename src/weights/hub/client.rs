//! Reads ranges of a hub's files: follows its redirects, tries again, goes on where an answer broke
//! off.
//!
//! Redirects are followed here and not by the HTTP library, because what a hub says of a file is in
//! its redirect to the server that has the bytes, and because the token is for the hub alone.

use std::io::Read as _;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body, Error, Proxy};

use super::fault::{Fault, Refusal, Trouble};
use super::{Place, State, Token};
use contract::digest::Digest;
use contract::words::quote;
use record::tool::{NAME, VERSION};

/// Attempts in a row that bring nothing.
const ATTEMPTS_MAX: u32 = 4;
/// A hub redirects once to the bytes, and once where a model was renamed.
const REDIRECTS_MAX: usize = 5;
/// For a name's resolution, and for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes handed on at once.
const CHUNK_LEN: usize = 1 << 16;

pub(super) struct Client {
    /// Without a slash at its end.
    endpoint: String,
    token: Option<Token>,
    proxy: Option<Proxy>,
    agent: Agent,
    /// How long nothing may come.
    pub silence: Duration,
    pause: Duration,
}

/// Bytes `at..end` of a file are wanted; `at` goes on as they come.
pub(super) struct Reading<'a> {
    pub place: &'a Place,
    /// The place's file, or a shard.
    pub file: &'a str,
    pub at: u64,
    pub end: u64,
    /// The state in which the file must be; found out by the first answer.
    pub state: Option<State>,
}

/// Takes the bytes that come, in order.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), Fault> + 'a;

impl Client {
    pub fn new(
        endpoint: &str,
        token: Option<Token>,
        proxy: Option<Proxy>,
        silence: Duration,
        pause: Duration,
    ) -> Client {
        let agent = Agent::config_builder()
            .proxy(proxy.clone())
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(format!("{NAME}/{VERSION}"))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .build()
            .into();
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        Client { endpoint, token, proxy, agent, silence, pause }
    }

    /// Reads on to the range's end, or to the file's if that comes first.
    pub fn read(&self, reading: &mut Reading<'_>, sink: &mut Sink<'_>) -> Result<State, Fault> {
        let mut attempts = 0;
        loop {
            let before = reading.at;
            let (fault, after) = match self.attempt(reading, sink) {
                Ok(state) => return Ok(state),
                Err(Trouble::Lasting(fault)) => return Err(fault),
                Err(Trouble::Passing(fault, after)) => (fault, after),
            };
            attempts = if reading.at > before { 1 } else { attempts + 1 };
            if attempts >= ATTEMPTS_MAX {
                return Err(fault.after(attempts));
            }
            std::thread::sleep(after.unwrap_or(self.pause * 2u32.pow(attempts - 1)));
        }
    }

    fn attempt(&self, reading: &mut Reading<'_>, sink: &mut Sink<'_>) -> Result<State, Trouble> {
        if let Some(state) = reading.state.as_ref().filter(|_| reading.at >= reading.end) {
            return Ok(state.clone());
        }
        let (mut response, state, uri) = self.ask(reading)?;
        let host = host(&uri);
        match &reading.state {
            Some(known) if *known != state => return Err(Fault::changed().into()),
            Some(_) => {}
            None => reading.state = Some(state.clone()),
        }
        let end = reading.end.min(state.file_len);
        let asked = end.saturating_sub(reading.at);
        let mut body = response.body_mut().as_reader().take(asked);
        let mut buffer = vec![0; CHUNK_LEN];
        let mut got = 0;
        while got < asked {
            let broken = |why: String| {
                let message =
                    format!("the answer of {host} broke off after {got} of {asked} bytes{why}");
                Trouble::Passing(Fault::environment(message, RUN_AGAIN), None)
            };
            match body.read(&mut buffer) {
                Ok(0) => return Err(broken(String::new())),
                Ok(len) => {
                    sink(&buffer[..len])?;
                    reading.at += len as u64;
                    got += len as u64;
                }
                Err(error) => return Err(broken(format!(": {error}"))),
            }
        }
        Ok(state)
    }

    /// Asks for the range and returns the answer that has it, the state of the file, and who
    /// answered.
    fn ask(&self, reading: &Reading<'_>) -> Result<(Response<Body>, State, Uri), Trouble> {
        let Reading { place, file, at, end, .. } = *reading;
        let hub = self.hub()?;
        let bearer = self.token.as_ref().map(bearer).transpose()?;
        let Place { repo, revision, .. } = place;
        let mut uri =
            parse(&format!("{}/{repo}/resolve/{revision}/{}", self.endpoint, encode(file)))?;
        let mut stated = Stated::default();
        for _ in 0..=REDIRECTS_MAX {
            let is_hub = origin(&uri) == origin(&hub);
            let mut request = self
                .agent
                .get(&uri)
                .header("Range", format!("bytes={at}-{}", end.saturating_sub(1)));
            if let (true, Some(bearer)) = (is_hub, &bearer) {
                request = request.header("Authorization", bearer.clone());
            }
            let response = request.call().map_err(|error| self.unreachable(&uri, &error))?;
            let headers = response.headers();
            if is_hub {
                stated.note(headers, revision)?;
            }
            match response.status().as_u16() {
                206 => {
                    let state = content_range(headers, at).map(|file_len| State {
                        file_len,
                        etag: stated.etag.clone(),
                        file_sha256: stated.file_sha256,
                    });
                    let state = state.ok_or_else(|| no_ranges(&uri))?;
                    return Ok((response, state, uri));
                }
                200 => return Err(no_ranges(&uri).into()),
                416 if at == 0 => return Err(Fault::malformed(("empty file".into(), None)).into()),
                416 => return Err(Fault::changed().into()),
                301 | 302 | 303 | 307 | 308 => uri = redirected(&uri, text(headers, "Location"))?,
                status => {
                    let refusal = Refusal {
                        status,
                        code: text(headers, "X-Error-Code"),
                        message: text(headers, "X-Error-Message"),
                        host: &host(&uri),
                        is_hub,
                        after: text(headers, "Retry-After").parse().ok().map(Duration::from_secs),
                    };
                    let token = self.token.as_ref().map(|token| token.origin.as_str());
                    return Err(refusal.trouble(place, file, &self.endpoint, token));
                }
            }
        }
        let message = format!("{} redirects more than {REDIRECTS_MAX} times", host(&hub));
        Err(Fault::environment(message, "check HF_ENDPOINT").into())
    }

    fn hub(&self) -> Result<Uri, Fault> {
        let hub = self.endpoint.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        hub.ok_or_else(|| {
            // Not shown: it may hold a password.
            Fault::down(
                "HF_ENDPOINT is not a hub's address",
                "expected https://HOST in HF_ENDPOINT",
            )
        })
    }

    /// Why there is no answer.
    fn unreachable(&self, uri: &Uri, error: &Error) -> Trouble {
        let host = host(uri);
        let proxy = self.proxy.as_ref().filter(|proxy| !proxy.is_no_proxy(uri));
        let why = match error {
            Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        let passing = |message, hint| Trouble::Passing(Fault::down(message, hint), None);
        match (error, proxy) {
            (Error::Tls(_) | Error::Rustls(_) | Error::Pem(_), _) => {
                let message = format!("no secure connection to {host}: {why}");
                Fault::down(message, "set NO_PROXY if a proxy opens secure connections").into()
            }
            (Error::Protocol(_), None) => {
                passing(format!("what {host} answers is not HTTP: {why}"), "check HF_ENDPOINT")
            }
            (_, Some(proxy)) => passing(
                format!(
                    "cannot reach {host} by the proxy {}:{}: {why}",
                    proxy.host(),
                    proxy.port()
                ),
                "correct or unset ALL_PROXY, HTTPS_PROXY and HTTP_PROXY",
            ),
            _ => passing(format!("cannot reach {host}: {why}"), "check the network"),
        }
    }
}

const RUN_AGAIN: &str = "run it again: it goes on where it stopped";

/// What the hub itself says of a file, in a redirect too.
#[derive(Default)]
struct Stated {
    etag: String,
    file_sha256: Option<Digest>,
}

impl Stated {
    fn note(&mut self, headers: &HeaderMap, revision: &str) -> Result<(), Fault> {
        let commit = text(headers, "X-Repo-Commit");
        if !commit.is_empty() && commit != revision {
            let message = format!("the hub answers for another revision, {}", quote(commit));
            return Err(Fault::environment(message, "check HF_ENDPOINT"));
        }
        // Of a large file: its SHA-256.
        let linked = text(headers, "X-Linked-Etag").trim_matches('"');
        self.file_sha256 = linked.parse().ok().or(self.file_sha256);
        let etag = if linked.is_empty() { text(headers, "ETag") } else { linked };
        if !etag.is_empty() {
            self.etag = etag.to_owned();
        }
        Ok(())
    }
}

/// A header's text; empty if there is none, or none that can be shown.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

fn bearer(token: &Token) -> Result<ureq::http::HeaderValue, Fault> {
    let visible = token.text.bytes().all(|b| b.is_ascii_graphic());
    let value = ureq::http::HeaderValue::try_from(format!("Bearer {}", token.text));
    match value {
        Ok(mut value) if visible => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => {
            let message = format!("the token ({}) has characters that no token has", token.origin);
            Err(Fault::unavailable(message, "copy it again"))
        }
    }
}

/// Length of the file in an answer that begins at `at`.
fn content_range(headers: &HeaderMap, at: u64) -> Option<u64> {
    let (range, file_len) =
        text(headers, "Content-Range").strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    (start.parse() == Ok(at)).then(|| file_len.parse().ok())?
}

fn no_ranges(uri: &Uri) -> Fault {
    let message = format!("{} does not answer with the range that it is asked for", host(uri));
    Fault::environment(message, "check HF_ENDPOINT, download the file with Hugging Face's client")
}

/// Who is asked: only who is the same gets the token.
fn origin(uri: &Uri) -> (Option<&str>, Option<String>, Option<u16>) {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().or(Some(default));
    (uri.scheme_str(), uri.host().map(str::to_ascii_lowercase), port)
}

/// For messages: an address may hold what signs it.
fn host(uri: &Uri) -> String {
    let port = uri.port_u16().map_or(String::new(), |port| format!(":{port}"));
    uri.host().unwrap_or_default().to_owned() + &port
}

fn parse(address: &str) -> Result<Uri, Fault> {
    address.parse().map_err(|_| Fault::environment("a bad address", "check HF_ENDPOINT"))
}

/// Where a redirect leads.
fn redirected(from: &Uri, location: &str) -> Result<Uri, Fault> {
    let scheme = from.scheme_str().unwrap_or_default();
    let authority = from.authority().map(ToString::to_string).unwrap_or_default();
    let address = match location {
        relative if relative.starts_with("//") => format!("{scheme}:{relative}"),
        relative if relative.starts_with('/') => format!("{scheme}://{authority}{relative}"),
        absolute => absolute.to_owned(),
    };
    let uri = address.parse::<Uri>().ok().filter(|to| match to.scheme_str() {
        Some("https") => to.host().is_some(),
        // Never from a secure connection to an open one.
        Some("http") => to.host().is_some() && scheme == "http",
        _ => false,
    });
    uri.ok_or_else(|| {
        let message = format!("{} redirects to an address that cannot be used", host(from));
        Fault::environment(message, "check HF_ENDPOINT")
    })
}

/// A path's text as part of an address.
fn encode(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_scheme_host_and_port_get_the_token() {
        let same = |a: &str, b: &str| origin(&a.parse().unwrap()) == origin(&b.parse().unwrap());
        assert!(same("https://hub.example/a", "https://HUB.example:443/b?c"));
        for other in [
            "http://hub.example/",
            "https://cdn.hub.example/",
            "https://hub.example:8443/",
            "https://hub.example.evil/",
            "https://hub.example@evil.example/",
        ] {
            assert!(!same("https://hub.example/a", other), "{other}");
        }
    }

    #[test]
    fn redirects_never_leave_a_secure_connection() {
        let to = |from: &str, location| {
            redirected(&from.parse().unwrap(), location).map(|uri| uri.to_string()).ok()
        };
        let hub = "https://hub.example:1/x";
        assert_eq!(to(hub, "/y?z").as_deref(), Some("https://hub.example:1/y?z"));
        assert_eq!(to(hub, "//cdn.example/y").as_deref(), Some("https://cdn.example/y"));
        assert_eq!(to(hub, "https://cdn.example/y").as_deref(), Some("https://cdn.example/y"));
        for bad in ["http://cdn.example/y", "file:///etc/passwd", "", "y", "http://", "https://"] {
            assert_eq!(to(hub, bad), None, "{bad}");
        }
        assert!(to("http://127.0.0.1:1/x", "http://127.0.0.1:2/y").is_some());
    }

    #[test]
    fn ranges_are_those_that_were_asked_for() {
        let len = |value: &str, at| {
            let mut headers = HeaderMap::new();
            headers.insert("Content-Range", value.parse().unwrap());
            content_range(&headers, at)
        };
        assert_eq!(len("bytes 5-9/100", 5), Some(100));
        for bad in ["bytes 5-9/100", "bytes 6-9/*", "bytes */100", "items 6-9/100", "", "bytes 6/9"]
        {
            assert_eq!(len(bad, 6), None, "{bad}");
        }
    }

    #[test]
    fn paths_become_parts_of_addresses() {
        assert_eq!(encode("a/b-1_2.safetensors"), "a/b-1_2.safetensors");
        assert_eq!(encode("a b?#%ä"), "a%20b%3F%23%25%C3%A4");
    }
}
