//! What the run was made with and on.

use maud::{Markup, html};

use super::table::{Column, Table, plain, wide};
use super::{Part, folded, text};
use crate::numbers::bytes;
use crate::report::overview::count;

pub fn environment(part: &Part<'_>) -> Markup {
    let record = part.record;
    let machine = &record.environment;
    let options = &record.options;
    let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    let facts: Vec<(&str, String)> = vec![
        ("tool", record.tool.clone()),
        ("tool's sha256", optional(&machine.tool_sha256)),
        ("revision", optional(&machine.git_revision)),
        ("arguments", record.arguments.join(" ")),
        ("started", record.started.clone()),
        (
            "system",
            format!(
                "{}, kernel {}, {}",
                machine.os,
                optional(&machine.kernel),
                machine.architecture
            ),
        ),
        ("processor", format!("{}, {} logical", machine.cpu_model, machine.cores)),
        ("memory", machine.memory_bytes.map_or("unknown".into(), |b| bytes(b as f64))),
        ("caches", bytes(machine.cache_bytes as f64)),
        ("kernels", format!("{} (can run: {})", machine.isa, machine.isa_available.join(", "))),
        (
            "floating point",
            if machine.float_environment_is_ieee { "IEEE" } else { "not IEEE" }.into(),
        ),
        (
            "options",
            format!(
                "{} threads, {}, device {}, {}, {}",
                options.threads,
                options.isa,
                options.device.as_deref().unwrap_or("by the manifest's platform"),
                options
                    .nonce
                    .as_ref()
                    .map_or("no nonce".into(), |nonce| format!("nonce `{nonce}`")),
                match (options.measure, options.any_platform) {
                    (true, true) => "measured on any hardware",
                    (true, false) => "measured",
                    (false, _) => "bits only",
                },
            ),
        ),
        ("record", record.format.clone()),
    ];
    html! {
        dl {
            @for (name, fact) in &facts { dt { (name) } dd { (text(fact)) } }
            @for (name, fact) in record.operator.iter().flat_map(|operator| operator.facts()) {
                dt { (text(&name)) } dd { (text(&fact)) }
            }
        }
        (shards(part))
        (manifests(part))
        (devices(part))
        (libraries(part))
    }
}

/// Where the shards were run of which the record was joined.
fn shards(part: &Part<'_>) -> Markup {
    if part.record.shards.is_empty() {
        return html! {};
    }
    const COLUMNS: [Column<'_>; 4] =
        [plain("shard"), wide("processor"), plain("kernels"), plain("started")];
    let rows = part.record.shards.iter().map(|shard| {
        let (isa, processor) = shard.machine();
        vec![
            html! { (shard.shard) },
            html! { (text(processor)) },
            html! { (text(&format!("{isa}, {} threads", shard.threads))) },
            html! { (text(&shard.started)) },
        ]
    });
    Table { caption: "Shards", columns: &COLUMNS, rows: rows.collect() }.render()
}

fn manifests(part: &Part<'_>) -> Markup {
    const COLUMNS: [Column<'_>; 4] =
        [wide("manifest"), plain("platform"), plain("sha256"), plain("committed digests' sha256")];
    let rows = part.record.manifests.iter().map(|manifest| {
        vec![
            html! { (text(&manifest.name)) },
            html! { @match &manifest.platform { Some(platform) => (text(platform)), None => "any" } },
            html! { code { (manifest.sha256.to_string()) } },
            html! { @match &manifest.expected_sha256 { Some(sha256) => code { (sha256.to_string()) }, None => "none" } },
        ]
    });
    Table { caption: "Manifests", columns: &COLUMNS, rows: rows.collect() }.render()
}

fn devices(part: &Part<'_>) -> Markup {
    html! {
        @for used in &part.record.devices {
            @let device = &used.device;
            p {
                "Device " (device.ordinal) ": " (text(&device.name)) ", " (text(&device.uuid)) ", compute capability "
                (text(&device.compute_capability)) ", " (device.multiprocessors) " multiprocessors at "
                (device.clock_khz_max / 1000) " MHz at most, " (bytes(device.memory_bytes as f64)) ", driver for CUDA "
                (text(&device.driver)) "."
            }
            @if !used.kernels.is_empty() {
                (folded(false, html! { (count(used.kernels.len(), "kernel")) }, {
                    const COLUMNS: [Column<'_>; 4] =
                        [wide("source"), plain("compiled"), plain("source sha256"), plain("machine code sha256")];
                    let rows = used.kernels.iter().map(|kernel| vec![
                        text(&kernel.source),
                        html! { (text(&kernel.compiler)) span.why { (text(&kernel.options)) } },
                        html! { code { (kernel.source_sha256.to_string()) } },
                        html! { code { (kernel.cubin_sha256.to_string()) } },
                    ]);
                    Table { caption: "Kernels", columns: &COLUMNS, rows: rows.collect() }.render()
                }))
            }
        }
    }
}

/// Each library and version that ran, once, in the order of the record.
fn libraries(part: &Part<'_>) -> Markup {
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for timings in part.record.cases.iter().filter_map(|case| case.measurement.as_ref()) {
        for timed in std::iter::once(&timings.operator).chain(&timings.baselines) {
            let row = (timed.name.as_str(), timed.library.as_str(), timed.version.as_str());
            if known.insert(row) {
                seen.push(row);
            }
        }
    }
    if seen.is_empty() {
        return html! {};
    }
    const COLUMNS: [Column<'_>; 3] = [wide("name"), plain("library"), plain("version")];
    let rows =
        seen.iter().map(|(name, library, version)| vec![text(name), text(library), text(version)]);
    let table =
        Table { caption: "Libraries that were timed", columns: &COLUMNS, rows: rows.collect() };
    folded(false, html! { "Libraries that were timed: " (seen.len()) }, table.render())
}
