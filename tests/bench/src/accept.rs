//! Until a client is told that its task is accepted: judged, on the disk, answered.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::time::Instant;

use anyhow::ensure;

use crate::figure::{Figure, Goal, Section, Target};
use crate::place::Place;
use crate::server::Server;

/// One place, and it is taken: what is accepted only waits.
pub(crate) const ONE_PLACE: &str = "[tasks]\nmax_concurrent = 1\nmax_queued = 1_000_000\nmax_per_principal = 1_000_000\n";
const SERIAL: usize = 400;
const CLIENTS: usize = 4;
const EACH: usize = 200;
const WARM_UP: usize = 20;
const P99_MS: f64 = 20.0;
const DISK_WRITES: usize = 200;
const DISK_BYTES: usize = 4096;

/// Runs it.
pub(crate) fn run(place: &Place) -> anyhow::Result<Section> {
    let server = Server::start(place, ONE_PLACE)?;
    occupy(&server)?;
    let mut client = server.client()?;
    submit(&mut client, "warm-up", WARM_UP)?;
    let disk = disk(place)?;
    let serial = submit(&mut client, "serial", SERIAL)?;
    let together = concurrently(&server, CLIENTS, EACH)?;
    let goals = [("one client", &serial), ("several clients", &together)];
    let target = |(who, times): (&str, &Vec<f64>)| {
        Target::new(format!("durable accept, {who}, p99"), Figure::of("", "ms", times).p99, "ms", Goal::AtMost(P99_MS))
    };
    Ok(Section {
        title: "Accept",
        how: format!(
            "`coda_run` over MCP on loopback, from request to answer, the one place for a running task taken; the home is on \
             {}. Beside it, what the disk takes to write and sync {DISK_BYTES} bytes.",
            place.file_system()
        ),
        targets: goals.into_iter().map(target).collect(),
        figures: vec![
            Figure::of("coda_run, one client", "ms", &serial),
            Figure::of(format!("coda_run, {CLIENTS} clients at once"), "ms", &together),
            Figure::of("the disk alone", "ms", &disk),
        ],
    })
}

/// Gives the one place to a task that does nothing for a long time.
pub(crate) fn occupy(server: &Server) -> anyhow::Result<()> {
    let (status, _) = server.client()?.submit("sleep 3600")?;
    ensure!(status == "queued" || status == "running", "the first task is {status}");
    Ok(())
}

/// Hands tasks over one after the other; the milliseconds of each.
pub(crate) fn submit(client: &mut crate::client::Client, series: &str, count: usize) -> anyhow::Result<Vec<f64>> {
    let one = |n| {
        let (status, time) = client.submit(&format!("cargo test --workspace # {series} {n}"))?;
        ensure!(status == "queued", "a task is {status}, not queued");
        Ok(time)
    };
    (0..count).map(one).collect()
}

/// Hands tasks over from several connections at once.
pub(crate) fn concurrently(server: &Server, clients: usize, each: usize) -> anyhow::Result<Vec<f64>> {
    let connections = (0..clients).map(|_| server.client()).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        let run = |(n, mut client)| scope.spawn(move || submit(&mut client, &format!("client {n}"), each));
        let threads: Vec<_> = connections.into_iter().enumerate().map(run).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("a client does not panic")?);
        }
        Ok(all)
    })
}

fn disk(place: &Place) -> anyhow::Result<Vec<f64>> {
    let folder = place.folder()?;
    let mut file = File::create(folder.path().join("probe"))?;
    let block = [1; DISK_BYTES];
    let mut times = Vec::with_capacity(DISK_WRITES);
    for n in 0..DISK_WRITES {
        let begun = Instant::now();
        file.seek(std::io::SeekFrom::Start((n * DISK_BYTES) as u64))?;
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
