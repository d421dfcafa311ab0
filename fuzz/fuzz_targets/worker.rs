//! Any bytes as packets, one a line, to a worker and as replies of one: answered, or the end of the channel.
#![no_main]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sparse_verify::baseline::Host;
use sparse_verify::worker::message::{Reply, Request, VERSION};
use sparse_verify::worker::{Channel, serve};

const SOON: Option<Duration> = Some(Duration::from_secs(10));

fuzz_target!(|bytes: &[u8]| {
    let packets = || bytes.split(|&byte| byte == b'\n').filter(|packet| !packet.is_empty());

    // The judge, to which somebody else answers.
    let (judge, other) = Channel::pair().expect("a pair of sockets");
    // Only what is sent is wanted of the socket, whatever its kind.
    let other = UnixDatagram::from(other.into_socket());
    for packet in packets().take(8) {
        other.send(packet).expect("the queue is long enough");
        let _ = judge.receive::<Reply>(SOON);
    }

    // A worker, which somebody else asks.
    let (own, worker) = Channel::pair().expect("a pair of sockets");
    let serving = std::thread::spawn(move || drop(serve(Host::Embedded, &worker)));
    let open = Request::Open { version: VERSION, threads: 1 };
    own.send(&open, &[], SOON).expect("the worker is there");
    own.receive::<Reply>(SOON).expect("it answers");
    let own = UnixDatagram::from(OwnedFd::from(own.into_socket()));
    let mut answer = [0; 65536];
    for packet in packets() {
        if own.send(packet).is_err() || !matches!(own.recv(&mut answer), Ok(1..)) {
            break;
        }
    }
    drop(own);
    serving.join().expect("a worker does not panic");
});
