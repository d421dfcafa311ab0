//! The page in a real browser: Debian's Chromium, driven through chromedriver's HTTP interface on the loopback
//! device. Where there is no Chromium the tests say `not run`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::records::{full, record};
use base64::Engine as _;
use contract::digest::Digest;
use record::Record;
use record::report::html;
use serde_json::{Value, json};

/// Of a small telephone, in CSS pixels.
const NARROW: u32 = 360;
/// Of a desk.
const WIDE: u32 = 1280;
/// Of a large desk.
const WIDEST: u32 = 2560;
/// Height of the page of h200.json on a desk at most, in CSS pixels: claims and 49 cases, with the rest folded.
const HEIGHT_MAX: u64 = 8_000;
/// Leaves of A4 of the same page at most.
const LEAVES_MAX: usize = 6;
/// Between the margins of a printed A4 page.
const PAPER: u32 = 720;

/// Written past the test harness's capture, so that a plain `cargo test` shows it.
fn not_run(what: &str, reason: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "not run: {what} ({reason})");
}

/// A browser without a network, with a profile of its own.
struct Browser {
    driver: Child,
    agent: ureq::Agent,
    /// Of the session; empty until there is one.
    address: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `Err` where none is installed.
    fn open() -> Result<Browser, String> {
        for program in ["chromium", "chromedriver"] {
            let version = Command::new(program).arg("--version").output();
            version.map_err(|error| format!("no {program}: {error}"))?;
        }
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("no chromedriver: {error}"))?;
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // Nobody reads on; a full pipe would stop the driver.
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)));
        let mut browser = Browser {
            driver,
            agent: config.build().into(),
            address: String::new(),
            _profile: profile,
        };
        let server =
            format!("http://127.0.0.1:{}/session", port.expect("the driver says its port"));
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let session = browser.post(
            &server,
            &json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "goog:chromeOptions": {"args": arguments},
            }}}),
        );
        let id = session["sessionId"].as_str().expect("a session").to_owned();
        browser.address = format!("{server}/{id}");
        let offline = json!({"network_conditions": {
            "offline": true, "latency": 0, "download_throughput": 0, "upload_throughput": 0,
        }});
        browser.command("chromium/network_conditions", &offline);
        // What a new window asks for by itself is not the page's.
        browser.command("url", &json!({"url": "about:blank"}));
        browser.log("performance");
        Ok(browser)
    }

    fn post(&self, address: &str, body: &Value) -> Value {
        let sent = self.agent.post(address).header("content-type", "application/json");
        let mut answer = sent.send(body.to_string()).expect("the driver answers");
        // Screenshots are long.
        let text = answer.body_mut().with_config().limit(256 << 20).read_to_string();
        let answer: Value = serde_json::from_str(&text.expect("text")).expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{address}: {answer}");
        answer["value"].clone()
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.post(&format!("{}/{name}", self.address), body)
    }

    fn devtools(&self, name: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": name, "params": parameters}))
    }

    /// The value of a function's body.
    fn script(&self, body: &str) -> Value {
        self.command("execute/sync", &json!({"script": body, "args": []}))
    }

    /// Shows a file on a screen of that width.
    fn show(&self, page: &Path, width: u32, scheme: &str, media: &str) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({
                "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == NARROW,
            }),
        );
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({
                "media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}],
            }),
        );
        self.command("url", &json!({"url": address_of(page)}));
    }

    /// Pixels of a part of the page, row by row.
    fn picture(&self, part: [f64; 4]) -> Picture {
        let [x, y, width, height] = part;
        let clip = json!({"x": x, "y": y, "width": width, "height": height, "scale": 1});
        let shot = self.devtools(
            "Page.captureScreenshot",
            json!({
                "format": "png", "captureBeyondViewport": true, "clip": clip,
            }),
        );
        Picture::decode(&bytes(&shot["data"]))
    }

    /// What the browser noted since it was last asked.
    fn log(&self, kind: &str) -> Vec<Value> {
        self.command("se/log", &json!({"type": kind})).as_array().expect("a list").clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.address.is_empty() {
            let _ = self.agent.delete(&self.address).call();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn address_of(page: &Path) -> String {
    format!("file://{}", page.display())
}

fn bytes(text: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(text.as_str().expect("a text"))
        .expect("base64")
}

type Colour = [u8; 3];

struct Picture {
    width: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    fn decode(bytes: &[u8]) -> Picture {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut buffer = vec![0; reader.output_buffer_size().expect("small")];
        let frame = reader.next_frame(&mut buffer).expect("a picture");
        assert_eq!(frame.bit_depth, png::BitDepth::Eight);
        let channels = match frame.color_type {
            png::ColorType::Rgb => 3,
            png::ColorType::Rgba => 4,
            other => panic!("{other:?}"),
        };
        let pixels = buffer[..frame.buffer_size()].chunks_exact(channels);
        let pixels = pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Picture { width: frame.width as usize, pixels }
    }

    /// How many pixels are close to a colour.
    fn count(&self, colour: Colour) -> usize {
        let is_close = |pixel: &&Colour| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 24);
        self.pixels.iter().filter(is_close).count()
    }
}

fn colour(hex: u32) -> Colour {
    [(hex >> 16) as u8, (hex >> 8) as u8, hex as u8]
}

/// Of the style sheet, by scheme: page, best, published, good and bad.
const SCHEMES: [(&str, [u32; 5]); 2] = [
    ("light", [0xffffff, 0x0b5cad, 0xa84300, 0x12602c, 0xa1161c]),
    ("dark", [0x14171a, 0x6fb1ff, 0xffa25c, 0x7ddb95, 0xff9a96]),
];

/// Pages of all kinds, by name.
fn pages() -> Vec<(&'static str, String)> {
    let one = |record: Record| html::render(&[("record.json".to_owned(), record)]);
    let h200 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/h200/h200.json");
    let mut long = full();
    long.cases[1].id = "x".repeat(10_000);
    long.cases[1].reasons = vec!["y".repeat(10_000)];
    long.judged[0].rows[0].line = "z".repeat(3_000);
    let mut many = full();
    for at in 0..842 {
        let mut case = many.cases[4 + at % 3].clone();
        case.section = format!("section-{}", at / 20);
        case.id = format!("{}/layer-{at}/{}", case.section, case.id);
        many.cases.push(case);
    }
    let mut other = record();
    let bits = other.cases[0].bits.as_mut().expect("it ran");
    bits.digests[3].got = Some(Digest::of(b"another"));
    let two = [("cpu.json".to_owned(), record()), ("gpu.json".to_owned(), other)];
    vec![
        ("full", one(full())),
        ("h200", one(record::load(&h200).expect("a record"))),
        ("long", one(long)),
        ("many", one(many)),
        ("two", html::render(&two)),
    ]
}

/// What is wrong with the page, in words: headings that skip a level, tables without heads, pictures without words,
/// names given twice, texts that are hard to read.
const AUDIT: &str = r##"
    const wrong = [];
    const levels = [...document.querySelectorAll('h1,h2,h3,h4,h5')].map(h => +h.tagName[1]);
    if (levels.filter(l => l === 1).length !== 1) wrong.push('not one h1');
    levels.forEach((l, i) => { if (i && l > levels[i - 1] + 1) wrong.push('heading skips to h' + l); });
    for (const table of document.querySelectorAll('table')) {
        if (!table.caption) wrong.push('table without caption');
        for (const th of table.querySelectorAll('th')) if (!th.scope) wrong.push('th without scope');
        for (const row of table.tBodies[0].rows)
            if ([...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0) !== table.tHead.rows[0].cells.length)
                wrong.push('ragged table');
    }
    for (const svg of document.querySelectorAll('svg.plot'))
        for (const tag of ['title', 'desc'])
            if (!svg.querySelector(':scope > ' + tag).textContent) wrong.push('plot without ' + tag);
    const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    if (new Set(ids).size !== ids.length) wrong.push('an id given twice');
    for (const a of document.querySelectorAll('a[href^="#"]'))
        if (!document.getElementById(a.hash.slice(1))) wrong.push('no place for ' + a.hash);
    if (!document.documentElement.lang || !document.title) wrong.push('no language or title');

    const numbers = colour => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = numbers(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const seen = new Set();
    for (const element of document.querySelectorAll('main *')) {
        if (![...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
        if (['title', 'desc'].includes(element.tagName)) continue;
        const style = getComputedStyle(element);
        const colour = numbers(element.tagName === 'text' ? style.fill : style.color);
        const [a, b] = [light(colour), light(behind(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) seen.add(element.tagName + '.' + element.className + ' ' + ratio.toFixed(2));
    }
    return wrong.concat([...seen]);
"##;

/// Boxes that are wider inside than they are, on paper, and what must be on it and is not: the verdict, each claim, each
/// case. What is folded stays folded, and the paper says so.
const PRINTED: &str = r#"
    const wrong = [];
    for (const box of document.querySelectorAll('.box, .commands, main'))
        if (box.checkVisibility() && box.scrollWidth > box.clientWidth + 1) wrong.push(box.className + ' is cut off');
    const seen = element => element.checkVisibility() && element.getBoundingClientRect().height > 0;
    const needed = ['.banner', '.paper', 'section:not(.record *) > .cards > .card', 'section:not(.record *) > .cases > table > tbody > tr:first-child'];
    for (const name of needed)
        for (const element of document.querySelectorAll(name))
            if (!seen(element)) wrong.push(name + ' is not on paper');
    if (!document.querySelector('.paper')) wrong.push('nothing says what is folded');
    return wrong;
"#;

/// What the first screen must show of the claim that was printed as 9.53x, and does not.
const FIRST_SCREEN: &str = r#"
    const card = [...document.querySelectorAll('.card')].find(card => card.textContent.includes('h200-llama31-8b-up-80'));
    if (!card) return ['no card'];
    const wrong = [];
    for (const text of ['9.53x', 'refuted', '10.02x', '1.016x', 'attained', 'cuSPARSE', 'compacted-cublas']) {
        const walker = document.createTreeWalker(card, NodeFilter.SHOW_TEXT);
        let is_seen = false;
        while (walker.nextNode()) {
            if (!walker.currentNode.textContent.includes(text)) continue;
            const range = document.createRange();
            range.selectNode(walker.currentNode);
            const place = range.getBoundingClientRect();
            is_seen = is_seen || (place.height > 0 && place.top >= 0 && place.bottom <= 900);
        }
        if (!is_seen) wrong.push(text);
    }
    return wrong;
"#;

/// What goes wrong when the table of cases is filtered, sorted and linked to.
const HANDLED: &str = r#"
    const wrong = [];
    const box = document.querySelector('.cases');
    const table = box.querySelector('table');
    const shown = () => [...table.tBodies].filter(row => row.checkVisibility());
    const search = document.querySelector('.controls input');
    const verdict = document.querySelector('.controls select');
    const set = (field, value) => {
        field.value = value;
        field.dispatchEvent(new Event(field === search ? 'input' : 'change'));
    };
    const all = table.tBodies.length;
    set(search, 'ROWS/up_proj row-magnitude-80 f32-chain');
    if (shown().length !== 1) wrong.push('a filter shows ' + shown().length);
    if (!document.querySelector('.controls [role=status]').textContent.startsWith('1 of ' + all)) wrong.push('no count');
    set(search, '');
    if (shown().length !== all) wrong.push('without a filter ' + shown().length);
    set(verdict, 'verified');
    if (!shown().every(row => row.querySelector('.verdict').textContent === 'verified')) wrong.push('other verdicts');
    set(verdict, '');
    const head = table.tHead.rows[0].cells[3];
    for (const sign of [1, -1]) {
        head.querySelector('button').click();
        const keys = [...table.tBodies].map(row => row.rows[0].cells[3].dataset.sort).filter(Boolean).map(Number);
        if (keys.length < 3 || !keys.every((key, at) => !at || sign * (key - keys[at - 1]) >= 0)) wrong.push('not sorted');
    }
    if (head.getAttribute('aria-sort') !== 'descending') wrong.push('the order is not told');
    return wrong;
"#;

/// The file that a variable names, for a checker that is not part of this repository: `npm install axe-core vnu-jar`
/// has both.
fn checker(what: &str, variable: &str) -> Option<String> {
    let found = std::env::var(variable).ok().filter(|path| Path::new(path).is_file());
    if found.is_none() {
        not_run(what, &format!("{variable} names no file"));
    }
    found
}

/// Rules of axe that the page breaks, each with an element.
const AXE: &str = "axe.run(document).then(found => JSON.stringify(found.violations.map(rule => \
                   [rule.id, rule.nodes.length, rule.nodes[0].html.slice(0, 200)])))";

#[test]
fn axe_finds_nothing() {
    let Some(axe) = checker("axe on the report", "SPARSE_VERIFY_AXE") else { return };
    let browser = match Browser::open() {
        Ok(browser) => browser,
        Err(reason) => return not_run("axe on the report", &reason),
    };
    let axe = std::fs::read_to_string(axe).expect("axe.min.js");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in
        pages().into_iter().filter(|(name, _)| ["full", "h200", "two"].contains(name))
    {
        let page = folder.path().join(format!("{name}.html"));
        std::fs::write(&page, text).expect("the folder is there");
        for (width, scheme) in [(NARROW, "dark"), (WIDE, "light")] {
            browser.show(&page, width, scheme, "screen");
            browser.devtools("Runtime.evaluate", json!({"expression": axe}));
            let options = json!({"expression": AXE, "awaitPromise": true, "returnByValue": true});
            let found = browser.devtools("Runtime.evaluate", options);
            assert_eq!(found["result"]["value"], json!("[]"), "{name}, {width}: {found}");
        }
    }
}

#[test]
fn the_nu_html_checker_finds_nothing() {
    let Some(jar) = checker("the Nu HTML checker on the report", "SPARSE_VERIFY_VNU") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in
        pages().into_iter().filter(|(name, _)| ["full", "h200", "two"].contains(name))
    {
        let page = folder.path().join(format!("{name}.html"));
        std::fs::write(&page, text).expect("the folder is there");
        let mut java = Command::new("java");
        let java = java.args(["-Xss8m", "-jar", &jar, "--errors-only"]).arg(&page).output();
        let Ok(ran) = java else { return not_run("the Nu HTML checker on the report", "no java") };
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && said.is_empty(),
            "{name}: {}",
            said.chars().take(2000).collect::<String>()
        );
    }
}

#[test]
fn the_page_in_a_browser() {
    let browser = match Browser::open() {
        Ok(browser) => browser,
        Err(reason) => return not_run("the report in a browser", &reason),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in pages() {
        let page = folder.path().join(format!("{name}.html"));
        std::fs::write(&page, text).expect("the folder is there");
        let [light, dark] = SCHEMES;
        let views = [(NARROW, light), (WIDE, dark), (NARROW, dark), (WIDE, light)];
        // One page is seen in all ways, the others in each width and each scheme.
        let views = if name == "full" { &views[..] } else { &views[..2] };
        browser.show(&page, WIDEST, "light", "screen");
        let across = browser.script("return document.documentElement.scrollWidth");
        assert!(across.as_u64() <= Some(u64::from(WIDEST)), "{name}: {across} across");
        for &(width, (scheme, colours)) in views {
            browser.show(&page, width, scheme, "screen");
            let what = format!("{name}, {scheme}, {width}");
            let across = browser.script("return document.documentElement.scrollWidth");
            assert!(across.as_u64() <= Some(u64::from(width)), "{what}: {across} across");
            assert_eq!(browser.script(AUDIT), json!([]), "{what}");
            looks_right(&browser, width, colours, &what);
        }
        if name == "h200" {
            browser.show(&page, WIDE, "light", "screen");
            let height = browser.script("return document.documentElement.scrollHeight");
            assert!(height.as_u64() <= Some(HEIGHT_MAX), "{height} high");
            assert_eq!(browser.script(FIRST_SCREEN), json!([]), "the first screen");
            assert_eq!(browser.script(HANDLED), json!([]), "the table of cases");
        }
        browser.show(&page, PAPER, "dark", "print");
        assert_eq!(browser.script(PRINTED), json!([]), "{name} on paper");
        let paper = browser.picture([0.0, 0.0, 100.0, 20.0]);
        assert_eq!(paper.pixels[0], [255; 3], "paper is white in the dark as well");
        browser.devtools("Emulation.clearDeviceMetricsOverride", json!({}));
        let a4 = json!({"paperWidth": 8.27, "paperHeight": 11.69});
        let printed = bytes(&browser.devtools("Page.printToPDF", a4)["data"]);
        assert!(printed.starts_with(b"%PDF-"), "{name}");
        // `/Type /Pages` are what leaves are bound into.
        let is_leaf = |bytes: &&[u8]| bytes.starts_with(b"/Type /Page") && bytes[11] != b's';
        let leaves = printed.windows(12).filter(is_leaf).count();
        assert!(leaves > 0, "{name}: {leaves} leaves");
        assert!(name != "h200" || leaves <= LEAVES_MAX, "{name}: {leaves} leaves");

        let said: Vec<Value> = browser.log("browser");
        assert_eq!(said, [] as [Value; 0], "{name}: the console is silent");
        for address in requested(&browser) {
            let is_own = address == address_of(&page) || address.starts_with("data:");
            assert!(is_own, "{name} asks for {address}");
        }
    }
}

/// The addresses that were asked for.
fn requested(browser: &Browser) -> Vec<String> {
    let entries = browser.log("performance").into_iter().filter_map(|entry| {
        let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
        let message = &message["message"];
        (message["method"] == "Network.requestWillBeSent")
            .then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
    });
    let requested: Vec<String> = entries.collect();
    assert!(!requested.is_empty(), "the page itself is noted");
    requested
}

/// Not blank, in the colours of its scheme, with a plot where one should be.
fn looks_right(browser: &Browser, width: u32, colours: [u32; 5], what: &str) {
    let [page, best, published, good, bad] = colours.map(colour);
    let top = browser.picture([0.0, 0.0, f64::from(width), 800.0]);
    assert_eq!((top.width, top.pixels[0]), (width as usize, page), "{what}");
    let filled = top.pixels.iter().filter(|pixel| **pixel != page).count();
    let share = filled as f64 / top.pixels.len() as f64;
    assert!((0.02..0.9).contains(&share), "{what}: {share} of it is not background");
    assert!(top.count(good) + top.count(bad) > 100, "{what}: the verdict has its colour");

    // Of the first plot of a speedup, which may be folded away.
    let place = browser.script(
        "const plot = [...document.querySelectorAll('svg.plot')].find(plot => plot.querySelector('.mark.published')); \
         if (!plot) return null; \
         for (let at = plot; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true; \
         const r = plot.getBoundingClientRect(); return [r.x, r.y + scrollY, r.width, r.height]",
    );
    let Some(place) = place.as_array() else {
        assert!(what.starts_with("two"), "{what}: no plot");
        return;
    };
    let place: Vec<f64> = place.iter().filter_map(Value::as_f64).collect();
    assert!(place[2] > 250.0, "{what}: {place:?}");
    let plot = browser.picture([place[0], place[1], place[2], place[3]]);
    for (name, colour, least) in [("best", best, 60), ("published", published, 40)] {
        let count = plot.count(colour);
        assert!(count > least, "{what}: {count} pixels of {name}");
    }
    assert!(plot.count(page) > plot.pixels.len() / 2, "{what}: the plot stands on the page");
}
