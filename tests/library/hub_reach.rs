//! How a hub is reached: proxies, authorities, slow and odd servers, and what lies in Hugging Face's cache.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::files::{Folder, bytes_of, entry};
use crate::hub::{
    VALUES, hub, kept, plain, resolve, resolver, settings, small_file, values, weights,
};
use crate::hub_server::{
    Certificate, FILE, Opening, REVISION, RealHub, Reply, SECRET, Server, Tunnel, nobody, part_of,
    whole,
};
use contract::case::Stored;
use contract::digest::Digest;
use proptest::prelude::*;
use sparse_verify::weights::{Hub, Settings, Source, WeightsError, WeightsFile};

const INDEX: &str = "model.safetensors.index.json";
const NO_TOKEN: (&str, &str) = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");

/// The tensor as it is found with these variables.
fn reach(variables: &[(&str, &str)]) -> Result<Source, WeightsError> {
    let folder = Folder::new();
    // The folder may go: what is found is open.
    resolve(&resolver(&folder, Some(Hub::new(settings(variables)))), &plain())
}

fn fetched(found: Result<Source, WeightsError>) {
    assert_eq!(values(&found.unwrap_or_else(|e| panic!("{e}"))), VALUES);
}

fn refused(found: Result<Source, WeightsError>) -> String {
    found.map(|_| ()).expect_err("refused").to_string()
}

#[test]
fn an_open_address_is_asked_of_a_proxy_in_full_and_with_its_user() {
    let file = small_file();
    let proxy = Server::start(move |request| part_of(&file, request));
    let with_user = proxy.url.replace("http://", "http://some:p%40ss@");
    for (name, value) in [
        ("HTTP_PROXY", &*proxy.url),
        ("http_proxy", proxy.host()),
        ("ALL_PROXY", &proxy.url),
        ("all_proxy", &with_user),
    ] {
        fetched(reach(&[("HF_ENDPOINT", "http://hub.invalid:81"), (name, value), NO_TOKEN]));
        let request = proxy.log().requests.pop().expect("asked");
        let address = format!("http://hub.invalid:81/org/name/resolve/{REVISION}/{FILE}");
        assert_eq!(request.path, address, "{name}");
        let user = (name == "all_proxy").then(|| "Basic c29tZTpwQHNz".to_owned());
        assert_eq!(request.proxy_authorization, user);
    }
    let refusing = Server::start(|_| Reply::new(407));
    let got = refused(reach(&[
        ("HF_ENDPOINT", "http://hub.invalid"),
        ("HTTP_PROXY", &refusing.url),
        NO_TOKEN,
    ]));
    let wants = format!("the proxy http://{} (HTTP_PROXY) wants to know its user", refusing.host());
    assert!(got.contains(&wants), "{got}");
}

#[test]
fn secure_addresses_go_through_every_kind_of_proxy() {
    let certificate = Certificate::new("hub.invalid", 2020..2100);
    let folder = Folder::new();
    let authority = folder.write("authority.pem", certificate.authority.as_bytes());
    let authority = authority.to_str().expect("a plain path");
    let file = small_file();
    let hub = Server::secure(&certificate, move |request| part_of(&file, request));
    for (opening, scheme) in
        [(Opening::Connect, "http"), (Opening::Socks5, "socks5"), (Opening::Socks5, "socks5h")]
    {
        let tunnel = Tunnel::start(opening, hub.host());
        let proxy = format!("{scheme}://{}", tunnel.address);
        for name in ["HTTPS_PROXY", "ALL_PROXY"] {
            fetched(reach(&[
                ("HF_ENDPOINT", "https://hub.invalid:444"),
                (name, &proxy),
                ("SSL_CERT_FILE", authority),
                NO_TOKEN,
            ]));
        }
        let asked = tunnel.asked();
        assert!(!asked.is_empty() && asked.iter().all(|who| who == "hub.invalid:444"), "{asked:?}");
    }
    // This kind of proxy is given addresses, not names.
    let open = {
        let file = small_file();
        Server::start(move |request| part_of(&file, request))
    };
    let tunnel = Tunnel::start(Opening::Socks4, open.host());
    let proxy = format!("socks4://{}", tunnel.address);
    fetched(reach(&[("HF_ENDPOINT", "http://127.0.0.1:81"), ("ALL_PROXY", &proxy), NO_TOKEN]));
    assert!(tunnel.asked().iter().all(|who| who == "127.0.0.1:81"), "{:?}", tunnel.asked());
}

#[test]
fn a_proxy_that_cannot_be_used_is_never_gone_around() {
    let file = small_file();
    let server = Server::start(move |request| part_of(&file, request));
    for bad in
        ["ftp://proxy", "://", "socks9://proxy", "socks://proxy", "http://", "a b", "http://:80"]
    {
        for name in ["ALL_PROXY", "HTTP_PROXY", "http_proxy"] {
            let got = refused(reach(&[("HF_ENDPOINT", &server.url), (name, bad), NO_TOKEN]));
            assert!(got.contains(&format!("{name} is not a proxy's address")), "{bad}: {got}");
            assert!(got.contains("socks5h"), "{got}");
        }
    }
    let secret = format!("ftp://user:{SECRET}@proxy");
    let got = refused(reach(&[("HF_ENDPOINT", &server.url), ("ALL_PROXY", &secret), NO_TOKEN]));
    assert!(!got.contains(SECRET), "{got}");
    // One that is dead neither.
    let dead = format!("socks5://{}", nobody());
    let got = refused(reach(&[("HF_ENDPOINT", &server.url), ("ALL_PROXY", &dead), NO_TOKEN]));
    assert!(got.contains("by the proxy socks5h://127.0.0.1:"), "{got}");
    assert_eq!(server.log().requests.len(), 0);
    // Where no address goes by it, it does not matter.
    fetched(reach(&[("HF_ENDPOINT", &server.url), ("HTTPS_PROXY", "ftp://x"), NO_TOKEN]));
    for direct in ["*", "127.0.0.1", "127.0.0.0/8", "x, 127.0.0.0/30 ,y", "127.0.0.1/32"] {
        for name in ["NO_PROXY", "no_proxy"] {
            fetched(reach(&[
                ("HF_ENDPOINT", &server.url),
                ("HTTP_PROXY", &dead),
                (name, direct),
                NO_TOKEN,
            ]));
        }
    }
    for other in ["127.0.0.2", "10.0.0.0/8", "127.0.0.1:1", "https://127.0.0.1", "7.0.0.1", "", ","]
    {
        let got = refused(reach(&[
            ("HF_ENDPOINT", &server.url),
            ("HTTP_PROXY", &dead),
            ("NO_PROXY", other),
            NO_TOKEN,
        ]));
        assert!(got.contains("by the proxy"), "{other}: {got}");
    }
    // In small letters it goes first, and takes the other away where it is empty.
    fetched(reach(&[
        ("HF_ENDPOINT", &server.url),
        ("HTTP_PROXY", &dead),
        ("http_proxy", ""),
        NO_TOKEN,
    ]));
}

#[test]
fn authorities_can_be_named_and_faults_of_certificates_have_names() {
    let good = Certificate::new("127.0.0.1", 2020..2100);
    let folder = Folder::new();
    let of = |name: &str, certificate: &Certificate| {
        let path = folder.write(name, certificate.authority.as_bytes());
        path.to_str().expect("a plain path").to_owned()
    };
    let named = of("good.pem", &good);
    let file = small_file();
    let hub = Server::secure(&good, move |request| part_of(&file, request));
    let ends = of("folder/0a0a0a0a.0", &good);
    let in_folder = Path::new(&ends).parent().and_then(Path::to_str).expect("a folder");
    for (name, value) in [
        ("SSL_CERT_FILE", &*named),
        ("SSL_CERT_DIR", in_folder),
        ("REQUESTS_CA_BUNDLE", &named),
        ("REQUESTS_CA_BUNDLE", in_folder),
        ("CURL_CA_BUNDLE", &named),
    ] {
        fetched(reach(&[("HF_ENDPOINT", &hub.url), (name, value), NO_TOKEN]));
    }
    // The first that is set decides.
    let other = of("other.pem", &Certificate::new("127.0.0.1", 2020..2100));
    let variables = [
        ("HF_ENDPOINT", &*hub.url),
        ("SSL_CERT_FILE", &other),
        ("REQUESTS_CA_BUNDLE", &named),
        NO_TOKEN,
    ];
    assert!(refused(reach(&variables)).contains("an authority that is not trusted here"));
    let got = refused(reach(&[("HF_ENDPOINT", &hub.url), NO_TOKEN]));
    assert!(got.contains("no secure connection to 127.0.0.1:"), "{got}");
    assert!(got.contains("its certificate is by an authority that is not trusted here"), "{got}");
    assert!(got.contains("SSL_CERT_FILE") && !got.contains("attempts"), "{got}");
    for (certificate, why) in [
        (Certificate::new("127.0.0.1", 2020..2021), "its certificate has expired"),
        (Certificate::new("127.0.0.1", 2090..2100), "its certificate is not valid yet"),
        (Certificate::new("hub.example", 2020..2100), "its certificate is for another name"),
    ] {
        let named = of("bad.pem", &certificate);
        let asked = AtomicUsize::new(0);
        let server = Server::secure(&certificate, move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            Reply::new(500)
        });
        let got =
            refused(reach(&[("HF_ENDPOINT", &server.url), ("SSL_CERT_FILE", &named), NO_TOKEN]));
        assert!(got.contains(why) && !got.contains("attempts"), "{got}");
        assert_eq!(server.log().requests.len(), 0);
    }
    let empty = folder.write("empty.pem", b"not a certificate");
    let missing = folder.path("missing.pem");
    for path in [empty, missing] {
        let path = path.to_str().expect("a plain path");
        let got = refused(reach(&[("HF_ENDPOINT", &hub.url), ("SSL_CERT_FILE", path), NO_TOKEN]));
        assert!(got.contains(&format!("{path}: no certificate there (SSL_CERT_FILE)")), "{got}");
    }
}

#[test]
fn the_token_goes_over_open_connections_on_this_machine_alone() {
    let refusing = || {
        Server::start(|request| match &request.authorization {
            None => Reply::new(401).header("X-Error-Code", "GatedRepo"),
            Some(_) => part_of(&small_file(), request),
        })
    };
    // On this machine, and by no proxy.
    let server = refusing();
    fetched(reach(&[("HF_ENDPOINT", &server.url), ("HF_TOKEN", SECRET)]));
    let proxy = refusing();
    for endpoint in ["http://hub.invalid", "http://127.0.0.1:81"] {
        let far = [("HF_ENDPOINT", endpoint), ("HTTP_PROXY", &*proxy.url), ("HF_TOKEN", SECRET)];
        let got = refused(reach(&far));
        assert!(got.contains("the token (HF_TOKEN) was not sent, because anybody"), "{got}");
        assert!(got.contains("SPARSE_VERIFY_TOKEN_OVER_HTTP=1"), "{got}");
        fetched(reach(&[&far[..], &[("SPARSE_VERIFY_TOKEN_OVER_HTTP", "1")]].concat()));
    }
}

#[test]
fn limits_on_requests_are_waited_for_and_the_seconds_are_shown() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let file = small_file();
    let count = AtomicUsize::new(0);
    let server = Server::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429).header("RateLimit", r#""resolvers";r=0;t=1"#),
        _ => part_of(&file, request),
    });
    let mut hub = hub(&server.url, None);
    hub.say = |text| SAID.lock().expect("no panic").push(text.to_owned());
    let started = Instant::now();
    fetched(resolve(&resolver(&Folder::new(), Some(hub)), &plain()));
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    let said = SAID.lock().expect("no panic").clone();
    assert_eq!(said[0], format!("waiting 1 s: {} asks to come back later", server.host()));
    assert_eq!(
        said[1],
        format!("fetching tensor `w` of org/name, 24 bytes of {} in `{FILE}`", small_file().len())
    );
    assert_eq!(said.len(), 2);
}

#[test]
fn a_server_that_sends_the_whole_file_serves_as_well() {
    let padded = {
        let header = format!(
            "{{{},{}}}",
            entry("a", "F32", &[30_000], 0, 120_000),
            entry("w", "F32", &[2, 3], 120_000, 120_024)
        );
        let data: Vec<u8> = VALUES.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes_of(&header, &[&[0; 120_000][..], &data].concat())
    };
    let own = padded.clone();
    let server = Server::start(move |_| whole(&own));
    let folder = Folder::new();
    // Where nothing may be kept whole, what comes before the tensor is passed over.
    fetched(resolve(&resolver(&folder, Some(hub(&server.url, None))), &plain()));
    assert_eq!(kept(&folder).len(), 1);
    // An answer that breaks off is gone on with.
    let (own, count) = (padded.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 2 => whole(&own),
        _ => whole(&own).cut(100_000),
    });
    fetched(resolve(&resolver(&Folder::new(), Some(hub(&server.url, None))), &plain()));
    // Else it is kept in Hugging Face's cache, whatever its length.
    let own = padded.clone();
    let server = Server::start(move |_| whole(&own).header("ETag", "W/\"abc\""));
    let folder = Folder::new();
    let cache = folder.path("hf");
    let mut settings = settings(&[
        ("HF_ENDPOINT", &server.url),
        ("HF_HUB_CACHE", cache.to_str().expect("a plain path")),
        NO_TOKEN,
    ]);
    settings.whole_max = 100;
    let mut resolver = resolver(&folder, Some(Hub::new(settings)));
    resolver.hub_cache = Some(cache.clone());
    fetched(resolve(&resolver, &plain()));
    assert!(kept(&folder).is_empty(), "{:?}", kept(&folder));
    let snapshot = cache.join(format!("models--org--name/snapshots/{REVISION}/{FILE}"));
    assert_eq!(std::fs::read(&snapshot).expect("kept"), padded);
    assert_eq!(std::fs::read_link(&snapshot).expect("a link"), Path::new("../../blobs/abc"));
}

#[test]
fn redirects_may_be_relative_and_etags_weak_or_bare() {
    for (location, path) in [
        ("/y", "/y".to_owned()),
        ("y", format!("/org/name/resolve/{REVISION}/y")),
        ("../y", "/org/name/resolve/y".to_owned()),
        ("?x=1", format!("/org/name/resolve/{REVISION}/{FILE}?x=1")),
    ] {
        for etag in ["\"e\"", "W/\"e\"", "e"] {
            let (file, to) = (small_file(), path.clone());
            let server = Server::start(move |request| match request.path == to {
                true => part_of(&file, request).header("ETag", etag),
                false => Reply::new(307).header("Location", location),
            });
            fetched(resolve(&resolver(&Folder::new(), Some(hub(&server.url, None))), &plain()));
            assert_eq!(server.log().requests[1].path, path);
        }
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_given_up() {
    let file = small_file();
    let server =
        Server::start(move |request| part_of(&file, request).drip(Duration::from_millis(20)));
    let mut settings = settings(&[("HF_ENDPOINT", &server.url), NO_TOKEN]);
    settings.window = Duration::from_millis(500);
    let started = Instant::now();
    let got = refused(resolve(&resolver(&Folder::new(), Some(Hub::new(settings))), &plain()));
    assert!(got.contains(" sends too slowly: ") && got.contains(" bytes in "), "{got}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// A model of two shards as Hugging Face serves it, a cache, and what finds the tensor there.
fn sharded() -> (RealHub, Folder) {
    let index = br#"{"metadata": {"total_size": 48}, "weight_map": {"v": "a.safetensors", "w": "b.safetensors"}}"#;
    let other = {
        let data = [0; 24];
        bytes_of(&format!("{{{}}}", entry("v", "F32", &[2, 3], 0, 24)), &data)
    };
    let hub = RealHub::start(vec![
        (INDEX, index.to_vec()),
        ("a.safetensors", other),
        ("b.safetensors", small_file()),
        (FILE, small_file()),
    ]);
    (hub, Folder::new())
}

/// Variables that name a hub, and a cache in a folder.
fn shared(url: &str, folder: &Folder) -> Settings {
    let cache = folder.path("hf");
    let cache = cache.to_str().expect("a plain path");
    let mut shared = settings(&[("HF_ENDPOINT", url), ("HF_HUB_CACHE", cache), NO_TOKEN]);
    shared.whole_max = 1 << 20;
    shared
}

fn find(folder: &Folder, hub: Option<Hub>, file: &str) -> Result<Source, WeightsError> {
    let mut resolver = resolver(folder, hub);
    resolver.hub_cache = Some(folder.path("hf"));
    resolver.offline = Some("HF_HUB_OFFLINE".to_owned());
    resolve(&resolver, &weights(file, None, None))
}

#[test]
fn small_files_lie_in_hugging_faces_cache_and_are_found_there() {
    let (real, folder) = sharded();
    for file in [FILE, INDEX] {
        fetched(find(&folder, Some(Hub::new(shared(&real.hub.url, &folder))), file));
        fetched(find(&folder, None, file));
    }
    let model = folder.path("hf/models--org--name");
    let link = |name: &str| {
        std::fs::read_link(model.join("snapshots").join(REVISION).join(name)).expect("a link")
    };
    let blob = format!("../../blobs/{}", Digest::of(&small_file()));
    assert_eq!(link(FILE), Path::new(&blob));
    assert_eq!(link("b.safetensors"), Path::new(&blob));
    // Only what is needed was fetched.
    assert!(!model.join("snapshots").join(REVISION).join("a.safetensors").exists());
    assert!(kept(&folder).is_empty());
}

#[test]
fn a_renamed_model_is_followed() {
    let (real, folder) = sharded();
    let resolver = resolver(&folder, Some(hub(&real.hub.url, None)));
    let mut renamed = weights(FILE, Some(Digest::of(&small_file())), None);
    if let contract::case::Weights::Hub { repo, .. } = &mut renamed {
        *repo = "org/old".to_owned();
    }
    let found = resolve(&resolver, &renamed).unwrap_or_else(|e| panic!("{e}"));
    assert!(found.is_stated);
    assert!(found.note.as_deref().is_some_and(|note| note.contains("stated by the hub")));
}

#[test]
fn an_index_whose_shard_is_not_here_is_completed_and_what_is_cut_off_is_healed() {
    for file in [FILE, INDEX] {
        let (real, folder) = sharded();
        let online = || Some(Hub::new(shared(&real.hub.url, &folder)));
        fetched(find(&folder, online(), file));
        let snapshot = folder.path(&format!("hf/models--org--name/snapshots/{REVISION}"));
        let holder = snapshot.join(if file == FILE { FILE } else { "b.safetensors" });
        if file == INDEX {
            std::fs::remove_file(&holder).expect("there");
            let got = refused(find(&folder, None, file));
            assert!(
                got.contains("not found") && got.contains("without HF_HUB_OFFLINE it is fetched"),
                "{got}"
            );
            fetched(find(&folder, online(), file));
        }
        for len in [small_file().len() as u64 - 1, 9, 0] {
            let blob = std::fs::OpenOptions::new().write(true).open(&holder).expect("there");
            blob.set_len(len).expect("writable");
            let got = refused(find(&folder, None, file));
            assert!(got.contains("without HF_HUB_OFFLINE it is fetched again"), "{got}");
            fetched(find(&folder, online(), file));
            assert_eq!(std::fs::read(&holder).expect("healed"), small_file());
        }
        assert!(kept(&folder).is_empty());
        // A large file's tensor is fetched beside it.
        let mut large = shared(&real.hub.url, &folder);
        large.whole_max = 1;
        std::fs::OpenOptions::new()
            .write(true)
            .open(&holder)
            .and_then(|f| f.set_len(9))
            .expect("there");
        fetched(find(&folder, Some(Hub::new(large)), file));
        assert_eq!(kept(&folder).len(), 1);
    }
}

#[test]
fn a_cache_that_cannot_be_written_to_does_not_matter() {
    let (real, folder) = sharded();
    folder.write("hf", b"a file");
    for file in [FILE, INDEX] {
        let mut resolver = resolver(&folder, Some(Hub::new(shared(&real.hub.url, &folder))));
        resolver.hub_cache = Some(folder.path("hf"));
        fetched(resolve(&resolver, &weights(file, None, None)));
    }
    assert_eq!(kept(&folder).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_of_a_variable_is_a_panic(
        proxy in "\\PC{0,20}|[a-z0-9]{1,6}://[ -~]{0,20}",
        no_proxy in "[0-9a-z.:/*,\\[\\] ]{0,40}",
        other in "\\PC{0,20}",
    ) {
        let variables = [
            ("ALL_PROXY", &*proxy), ("http_proxy", &proxy), ("NO_PROXY", &no_proxy),
            ("HF_HOME", &other), ("HF_ENDPOINT", &other), ("HF_TOKEN", &other),
            ("HF_HUB_OFFLINE", &other), ("HF_HUB_DOWNLOAD_TIMEOUT", &other),
        ];
        let _ = settings(&variables).in_force();
    }

    #[test]
    fn what_is_in_force_shows_no_password(password in "[a-z0-9]{8,16}", scheme in "http|https|socks5|ftp|") {
        let proxy = format!("{scheme}://user:pass{password}@proxy.example:1");
        let endpoint = format!("https://user:pass{password}@hub.example");
        let token = format!("hf_pass{password}");
        let shown = settings(&[
            ("HTTPS_PROXY", &proxy), ("HF_ENDPOINT", &endpoint), ("HF_TOKEN", &token),
        ]).in_force();
        prop_assert!(!format!("{shown:?}").contains("pass"), "{:?}", shown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_index_leads_out_of_its_folder(
        shard in "([.]{1,2}/|/|[a-z]/){0,3}(outside|inside)?[.]safetensors",
        edit in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let folder = Folder::new();
        folder.write("outside.safetensors", &small_file());
        folder.write("m/inside.safetensors", &small_file());
        let mut text = format!(r#"{{"weight_map": {{"w": "{shard}"}}}}"#).into_bytes();
        if let Some((at, byte)) = edit {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let path = folder.write(&format!("m/{INDEX}"), &text);
        if let Ok(tensor) = WeightsFile::open(&path).and_then(|file| file.tensor("w", &Stored::default(), 2, 3)) {
            let holder = std::fs::canonicalize(tensor.path()).expect("open");
            let inside = std::fs::canonicalize(folder.path("m")).expect("there");
            prop_assert!(holder.starts_with(inside), "{}", String::from_utf8_lossy(&text));
        }
    }
}
