//! Which proxy an address is asked by, and how.
//!
//! The variables and their rules are those of httpx, by which huggingface_hub asks: a name in small letters goes before one
//! in capitals, a scheme's own proxy before that for all. ureq asks every proxy to open a connection (CONNECT), which
//! most allow for secure connections alone; what goes to an `http` address is asked of an HTTP proxy by that address in
//! full, as RFC 9112 section 3.2.2 has it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use ipnet::IpNet;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use ureq::{Agent, Error};

use super::fault::Fault;
use super::settings::Setting;

/// Schemes of proxies.
const SCHEMES: &str = "http, https, socks5, socks5h, socks4 and socks4a";

/// The proxies that variables name, and who is asked without one.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Setting<String>>,
    https: Option<Setting<String>>,
    all: Option<Setting<String>>,
    direct: Vec<Direct>,
    /// The variable that names who is asked without a proxy.
    direct_origin: Option<String>,
}

/// An address that is asked without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Direct {
    scheme: Option<String>,
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    Network(IpNet),
    /// This name alone.
    Exactly(String),
    /// Names below this one.
    Below(String),
    /// This name, and those below it.
    AtOrBelow(String),
}

/// A proxy that an address is asked by. Its user and password are never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    address: ureq::Proxy,
    /// Of the variable.
    pub origin: String,
}

impl Proxies {
    /// `variable` gives a variable's text, empty where it is set so.
    pub(super) fn of(variable: &dyn Fn(&str) -> Option<String>) -> Proxies {
        // A name in small letters that is set to nothing takes one in capitals away.
        let set = |name: &str| {
            let capitals = name.to_ascii_uppercase();
            // A web server hands a visitor's header `Proxy` to its programs as HTTP_PROXY.
            let is_forged = name == "http_proxy" && variable("REQUEST_METHOD").is_some();
            let (origin, value) = match variable(name) {
                Some(value) => (name.to_owned(), value),
                None if is_forged => return None,
                None => (capitals.clone(), variable(&capitals)?),
            };
            let value = value.trim().to_owned();
            (!value.is_empty()).then_some(Setting { value, origin })
        };
        let no_proxy = set("no_proxy");
        let mut proxies = Proxies {
            http: set("http_proxy"),
            https: set("https_proxy"),
            all: set("all_proxy"),
            direct_origin: no_proxy.as_ref().map(|no| no.origin.clone()),
            direct: Vec::new(),
        };
        if let Some(no) = no_proxy {
            proxies.direct = no.value.split(',').filter_map(|entry| direct(entry.trim())).collect();
        }
        proxies
    }

    /// The proxy that an address is asked by; `None`: it is asked itself. A proxy that cannot be used is never gone
    /// around.
    pub(super) fn for_address(&self, uri: &Uri) -> Result<Option<Proxy>, Fault> {
        let own = match uri.scheme_str() {
            Some("http") => &self.http,
            _ => &self.https,
        };
        let Some(setting) = own.as_ref().or(self.all.as_ref()) else { return Ok(None) };
        if self.direct.iter().any(|direct| direct.covers(uri)) {
            return Ok(None);
        }
        proxy(setting).map(Some)
    }

    /// What is in force: a name, what it is set to without user and password, and the variable.
    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let named =
            [("http proxy", &self.http), ("https proxy", &self.https), ("proxy", &self.all)];
        let mut shown: Vec<_> = named
            .into_iter()
            .filter_map(|(name, setting)| {
                let setting = setting.as_ref()?;
                let text = match proxy(setting) {
                    Ok(proxy) => proxy.to_string(),
                    Err(_) => format!("not a proxy's address (expected {SCHEMES})"),
                };
                Some((name, text, setting.origin.clone()))
            })
            .collect();
        if let Some(origin) = &self.direct_origin {
            let count = self.direct.len();
            shown.push(("no proxy", format!("for {count} kinds of address"), origin.clone()));
        }
        shown
    }
}

/// The proxy of a setting.
fn proxy(setting: &Setting<String>) -> Result<Proxy, Fault> {
    let Setting { value, origin } = setting;
    let address = match value.split_once("://") {
        None => format!("http://{value}"),
        // Names are the proxy's to find, as they are for httpx: where a proxy is needed there is often no other way.
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("socks5") => {
            format!("socks5h://{rest}")
        }
        // ureq's own word for socks5, which nobody else knows.
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("socks") => String::new(),
        Some(_) => value.clone(),
    };
    let address = ureq::Proxy::new(&address).ok().filter(|address| !address.host().is_empty());
    // Not shown: it may hold a password.
    let address = address.ok_or_else(|| {
        Fault::down(
            format!("{origin} is not a proxy's address"),
            &format!(
                "expected SCHEME://HOST:PORT with one of {SCHEMES}: correct or unset {origin}"
            ),
        )
    })?;
    Ok(Proxy { address, origin: origin.clone() })
}

/// An entry of NO_PROXY; `None` where it means nothing.
fn direct(entry: &str) -> Option<Direct> {
    if entry == "*" {
        return Some(Direct { scheme: None, host: Host::Any, port: None });
    }
    let (scheme, rest) = match entry.split_once("://") {
        Some(("all", rest)) => (None, rest),
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, entry),
    };
    if let Ok(network) = rest.parse::<IpNet>() {
        return Some(Direct { scheme, host: Host::Network(network), port: None });
    }
    if let Ok(address) = rest.parse::<IpAddr>() {
        return Some(Direct { scheme, host: Host::Network(address.into()), port: None });
    }
    // What has a slash is meant as a network, and is none.
    if rest.is_empty() || rest.contains('/') {
        return None;
    }
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = match bracketed {
        Some((name, port)) => (name, port.strip_prefix(':')),
        None => rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port))),
    };
    let port = port.map(str::parse::<u16>).transpose().ok()?;
    let name = name.to_ascii_lowercase();
    let host = if let Ok(address) = name.parse::<IpAddr>() {
        Host::Network(address.into())
    } else if bracketed.is_some() || name.is_empty() {
        return None;
    } else if let Some(below) = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
        Host::Below(below.to_owned())
    } else if name == "localhost" || scheme.is_some() {
        Host::Exactly(name)
    } else {
        Host::AtOrBelow(name.strip_prefix('*').unwrap_or(&name).to_owned())
    };
    Some(Direct { scheme, host, port })
}

impl Direct {
    fn covers(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        let is_host = match &self.host {
            Host::Any => true,
            Host::Network(network) => {
                host.parse::<IpAddr>().is_ok_and(|address| network.contains(&address))
            }
            Host::Exactly(name) => host == *name,
            Host::Below(name) => below(name),
            Host::AtOrBelow(name) => host == *name || below(name),
        };
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        is_host
            && self.port.is_none_or(|own| own == port)
            && self.scheme.as_deref().is_none_or(|own| uri.scheme_str() == Some(own))
    }
}

impl Proxy {
    /// Asks by this proxy for an address with its scheme; `configured` makes ureq's settings with or without a proxy.
    pub fn agent(&self, uri: &Uri, configured: impl Fn(Option<ureq::Proxy>) -> Config) -> Agent {
        if !self.forwards(uri) {
            return Agent::new_with_config(configured(Some(self.address.clone())));
        }
        let proxy = self.address.uri().clone();
        let connector = Forwarded { proxy: proxy.clone(), inner: DefaultConnector::default() };
        let resolver = ProxysAddress { proxy, inner: DefaultResolver::default() };
        Agent::with_parts(configured(None), connector, resolver)
    }

    /// Whether the proxy is asked for the address in full, and sees what is asked.
    pub fn forwards(&self, uri: &Uri) -> bool {
        use ureq::ProxyProtocol::{Http, Https};
        uri.scheme_str() == Some("http") && matches!(self.address.protocol(), Http | Https)
    }

    /// By what the proxy knows its user, where it is asked for an address in full.
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = (self.address.username(), self.address.password());
        (user.is_some() || password.is_some()).then(|| {
            let both = format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
        })
    }
}

/// Finds the proxy, whoever is asked for: a name that the proxy alone knows need not be known here.
#[derive(Debug)]
struct ProxysAddress {
    proxy: Uri,
    inner: DefaultResolver,
}

impl Resolver for ProxysAddress {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.inner.resolve(&self.proxy, config, timeout)
    }
}

/// Connects to the proxy in place of who is asked.
#[derive(Debug)]
struct Forwarded {
    proxy: Uri,
    inner: DefaultConnector,
}

impl Connector for Forwarded {
    type Out = InFull;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<InFull>, Error> {
        let to_proxy = ConnectionDetails {
            uri: &self.proxy,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        let start = format!("GET http://{}", authority(details.uri)).into_bytes();
        let inner = self.inner.connect(&to_proxy, None)?;
        Ok(inner.map(|inner| InFull { inner, start }))
    }
}

/// Host and port, without a user.
fn authority(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// A connection to a proxy, on which requests name the address in full.
#[derive(Debug)]
struct InFull {
    inner: Box<dyn Transport>,
    /// In place of `GET`, before the path.
    start: Vec<u8>,
}

impl Transport for InFull {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        const GET: &[u8] = b"GET ";
        let output = self.inner.buffers().output();
        let mut len = amount;
        if output[..amount].starts_with(b"GET /") {
            len = amount - GET.len() + self.start.len();
            if len > output.len() {
                return Err(Error::BadUri("an address too long to ask a proxy for".to_owned()));
            }
            output.copy_within(GET.len()..amount, self.start.len());
            output[..self.start.len()].copy_from_slice(&self.start);
        }
        self.inner.transmit_output(len, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.address.uri().scheme_str().unwrap_or("http");
        write!(f, "{scheme}://{}:{}", self.address.host(), self.address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn covers(entry: &str, address: &str) -> bool {
        direct(entry).is_some_and(|direct| direct.covers(&address.parse().unwrap()))
    }

    #[test]
    fn who_is_asked_without_a_proxy_is_named_as_httpx_reads_it() {
        for (entry, inside, outside) in [
            (
                "example.com",
                &["https://example.com", "http://a.EXAMPLE.com:8"][..],
                &["https://wwwexample.com"][..],
            ),
            (".example.com", &["https://a.example.com"], &["https://example.com"]),
            ("*.example.com", &["https://a.b.example.com"], &["https://example.com"]),
            ("*example.com", &["https://example.com"], &["https://xexample.com"]),
            ("example.com:8443", &["https://example.com:8443"], &["https://example.com"]),
            ("example.com:443", &["https://example.com"], &["http://example.com"]),
            (
                "https://example.com",
                &["https://example.com"],
                &["http://example.com", "https://a.example.com"],
            ),
            ("all://example.com:80", &["http://example.com"], &["https://example.com"]),
            ("localhost", &["http://localhost:1"], &["http://a.localhost"]),
            ("::1", &["http://[::1]:9/"], &["http://[::2]/", "http://127.0.0.1/"]),
            ("[::1]:9", &["http://[::1]:9/"], &["http://[::1]/"]),
            ("fd00::/8", &["http://[fd12::5]/"], &["http://[fe00::1]/", "http://fd12.example/"]),
            ("10.0.0.0/8", &["https://10.9.8.7"], &["https://11.0.0.1", "https://10.example"]),
            ("*", &["https://anything"], &[]),
        ] {
            for address in inside {
                assert!(covers(entry, address), "{entry} {address}");
            }
            for address in outside {
                assert!(!covers(entry, address), "{entry} {address}");
            }
        }
        for nothing in
            ["", "10.0.0.0/33", "10.0.0.0/x", "a/b", "[::1", "[a]", "a:b", ":80", "http://"]
        {
            assert_eq!(direct(nothing), None, "{nothing}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn networks_cover_what_begins_with_their_bits(
            network: u32, address: u32, near in 0u32..4, prefix in 0u32..=32,
        ) {
            for address in [address, network ^ near] {
                let same = u64::from(network ^ address) >> (32 - prefix) == 0;
                let (network, address) =
                    (std::net::Ipv4Addr::from(network), std::net::Ipv4Addr::from(address));
                let got = covers(&format!("{network}/{prefix}"), &format!("http://{address}:1/x"));
                prop_assert_eq!(got, same);
            }
        }

        #[test]
        fn names_cover_themselves_and_what_is_below(name in "[a-z]{1,5}(\\.[a-z]{2,3})?", before in "[a-z.]{0,4}") {
            let host = format!("{before}{name}");
            let below = before.is_empty() || before.ends_with('.');
            if let Ok(uri) = format!("https://{host}/").parse::<Uri>() {
                let direct = direct(&name).expect("a name");
                prop_assert_eq!(direct.covers(&uri), below && (name != "localhost" || before.is_empty()));
            }
        }

        #[test]
        fn no_value_is_a_panic(value in "\\PC{0,30}", entry in "\\PC{0,30}") {
            let setting = Setting { value: value.clone(), origin: "X".to_owned() };
            if let Ok(proxy) = proxy(&setting) {
                prop_assert!(!proxy.to_string().contains('@'));
            }
            let _ = direct(&entry).map(|direct| direct.covers(&Uri::from_static("http://a.b/")));
        }
    }
}
