//! The inbox of somebody with ten tasks, and of somebody with ten thousand.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::accept::{ONE_PLACE, concurrently, occupy, submit};
use crate::client::Client;
use crate::figure::{Figure, Goal, Section, Target, median_ratio};
use crate::place::Place;
use crate::server::Server;

const FEW: usize = 10;
const MANY: usize = 10_000;
const FILLERS: usize = 4;
const ROUNDS: usize = 300;
const WARM_UP: usize = 20;
const RATIO: f64 = 2.0;
const ACCEPTS: usize = 100;

/// Runs it.
pub(crate) fn run(place: &Place) -> anyhow::Result<Section> {
    let (few, many) = (filled(place, FEW)?, filled(place, MANY)?);
    let (mut few, mut many) = (few.client_of()?, many.client_of()?);
    let mut section = Section {
        title: "Inbox",
        how: format!(
            "`coda_inbox` over MCP on loopback, of a server with {FEW} tasks and one with {MANY} of the same person, in turn. \
             Without a limit a page has up to 50 tasks, so the fuller inbox also answers with more of them."
        ),
        figures: Vec::new(),
        targets: Vec::new(),
    };
    let pages = [("a page of ten", json!({ "limit": FEW }), FEW), ("the default page", json!({}), 50)];
    for (page, arguments, most) in pages {
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for round in 0..WARM_UP + ROUNDS {
            let one = listed(&mut few.client, &arguments, FEW)?;
            let other = listed(&mut many.client, &arguments, most)?;
            if round >= WARM_UP {
                small.push(one);
                large.push(other);
            }
        }
        section.figures.push(Figure::of(format!("{page}, {FEW} tasks"), "ms", &small));
        section.figures.push(Figure::of(format!("{page}, {MANY} tasks"), "ms", &large));
        let name = format!("inbox, {page}, {MANY} tasks to {FEW}");
        section.targets.push(Target::new(name, median_ratio(&large, &small), "×", Goal::AtMost(RATIO)));
    }
    let after = submit(&mut many.client, "after", ACCEPTS)?;
    section.figures.push(Figure::of(format!("coda_run, one client, {MANY} tasks there already"), "ms", &after));
    Ok(section)
}

struct Filled {
    server: Server,
}

struct Asked {
    client: Client,
    _server: Server,
}

impl Filled {
    fn client_of(self) -> anyhow::Result<Asked> {
        Ok(Asked { client: self.server.client()?, _server: self.server })
    }
}

/// A server whose only person has so many tasks.
fn filled(place: &Place, tasks: usize) -> anyhow::Result<Filled> {
    let server = Server::start(place, ONE_PLACE)?;
    occupy(&server)?;
    let rest = tasks - 1;
    concurrently(&server, FILLERS, rest / FILLERS)?;
    submit(&mut server.client()?, "rest", rest % FILLERS)?;
    Ok(Filled { server })
}

/// One question: the milliseconds. The answer must hold as many tasks as it should.
fn listed(client: &mut Client, arguments: &Value, expected: usize) -> anyhow::Result<f64> {
    let (answer, time) = client.call("coda_inbox", arguments)?;
    let tasks = answer["tasks"].as_array().map_or(0, Vec::len);
    ensure!(tasks == expected, "the inbox shows {tasks} tasks, not {expected}");
    Ok(time)
}
