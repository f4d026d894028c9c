//! What an agent reaches besides its model: from inside its sandbox, through the gateway, as its profile's list has it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::person::{Person, behind_a_proxy_with};
use crate::server::{DEADLINE, field};

const ROLES: &str = "[[role]]\nname = \"submitter\"\nprincipals = [\"sue@example.com\"]\n[[role]]\nname = \"operator\"\nprincipals = [\"olga@example.com\"]\n";

/// Tries what must fail and what must work; says a line for each. A tunnel stays open at its end.
const AGENT: &str = r#"
import base64, http.client, json, os, shutil, socket, subprocess, urllib.parse
said = []
port, refused = int(os.environ["PORT"]), int(os.environ["REFUSED"])
proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])

def attempt(name, way):
    try:
        said.append(f"{name}: {way()}")
    except (OSError, subprocess.SubprocessError) as e:
        said.append(f"{name}: {e}")

def direct():
    socket.create_connection(("127.0.0.1", port), 5).close()
    return "open"

def tunnel(host, port, user=proxy.username, password=proxy.password):
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=30)
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection.set_tunnel(host, port, {"Proxy-Authorization": f"Basic {pair}"})
    connection.request("GET", "/")
    return connection.getresponse().read().decode()

def curl():
    line = ["curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "", "--proxytunnel", "--proxy",
            os.environ["HTTPS_PROXY"], f"http://127.0.0.1:{port}/"]
    done = subprocess.run(line, capture_output=True, text=True)
    return done.stdout or done.stderr

attempt("direct", direct)
attempt("listed", lambda: tunnel("127.0.0.1", port))
attempt("curl", curl if shutil.which("curl") else lambda: "is not here")
attempt("another port", lambda: tunnel("127.0.0.1", refused))
attempt("another host", lambda: tunnel("evil.example", 443))
attempt("metadata", lambda: tunnel("169.254.169.254", 80))
attempt("another secret", lambda: tunnel("127.0.0.1", port, password=os.environ["CODA_GATEWAY_TOKEN"]))
left = socket.create_connection((proxy.hostname, proxy.port), 30)
pair = base64.b64encode(f"task:{proxy.password}".encode()).decode()
left.sendall(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nProxy-Authorization: Basic {pair}\r\n\r\n".encode())
attempt("left open", lambda: left.recv(12).decode())
left.sendall(b"left")
folder = os.environ["CODA_TASK_DIR"]
with open(folder + "/r", "w") as f:
    json.dump({"status": "completed", "summary": "\n".join(said)}, f)
os.rename(folder + "/r", folder + "/result.json")
"#;

/// A host that greets whoever asks; says when somebody was there who only said "left" and is gone.
fn host() -> (u16, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (gone, was_left) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let gone = gone.clone();
            std::thread::spawn(move || serve(stream, &gone));
        }
    });
    (port, was_left)
}

fn serve(mut stream: TcpStream, gone: &mpsc::Sender<()>) {
    let mut asked = [0; 4];
    if stream.read_exact(&mut asked).is_err() {
        return;
    }
    if asked == *b"left" {
        let _ = stream.read_to_end(&mut Vec::new());
        let _ = gone.send(());
        return;
    }
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        rest.push(byte[0]);
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nwell come");
}

/// In a sandbox of this tier.
fn through_the_gateway(sandbox: &str, tier: &str) {
    let ((port, was_left), (refused, _)) = (host(), host());
    let own = format!(
        "[executor]\nsandbox = {sandbox:?}\n[agents.own]\nkind = \"custom\"\ncommand = \"python3\"\narguments = [\"-c\", {}]\n\
         env = {{ PORT = \"{port}\", REFUSED = \"{refused}\" }}\nallow_hosts = [\"127.0.0.1:{port}\"]\n",
        json!(AGENT)
    );
    let server = behind_a_proxy_with(ROLES, &own);
    let (sue, olga) = (Person::new(&server, "sue@example.com"), Person::new(&server, "olga@example.com"));
    let (status, task) = sue.post("/v1/tasks", &json!({ "prompt": "go", "agent": "own" }));
    assert_eq!(status, 201, "{task:#}");
    let id = field(&task, "task_id");
    let ended = sue.wait_for(&id, &["completed", "failed", "denied", "timed_out"]);
    assert_eq!(field(&ended, "status"), "completed", "{ended:#}");
    assert!(field(&ended, "sandbox").starts_with(tier), "{ended:#}");
    let summary = field(&ended["result"], "summary");
    let said = |name: &str| summary.lines().find_map(|l| l.strip_prefix(&format!("{name}: "))).unwrap_or("").to_owned();
    assert!(!said("direct").is_empty() && said("direct") != "open", "{summary}");
    assert_eq!(said("listed"), "well come", "{summary}");
    assert!(["well come", "is not here"].contains(&said("curl").as_str()), "{summary}");
    for (name, host) in [
        ("another port", format!("127.0.0.1:{refused}")),
        ("another host", "evil.example:443".into()),
        ("metadata", "169.254.169.254:80".into()),
    ] {
        let told = format!("403 coda opens no tunnel to {host}: it is not in allow_hosts of [agents.own]");
        assert!(said(name).contains(&told), "{summary}");
    }
    assert!(said("another secret").contains("407"), "{summary}");
    assert_eq!(said("left open"), "HTTP/1.1 200", "{summary}");
    was_left.recv_timeout(DEADLINE).expect("the end of the task ends its tunnels");

    // What its task's record says of it.
    let closed = |events: &[Value]| events.iter().filter(|e| e["kind"] == "tunnel-closed").count();
    let opened = |events: &[Value]| events.iter().filter(|e| e["kind"] == "tunnel-opened").count();
    let so_far = || -> Vec<Value> {
        let (_, page) = sue.get(&format!("/v1/tasks/{id}/events?limit=1000"));
        page["events"].as_array().cloned().unwrap_or_default()
    };
    sue.wait_until(&id, |_| closed(&so_far()) == opened(&so_far()));
    let events = so_far();
    let of = |kind: &str, host: &str| events.iter().find(|e| e["kind"] == kind && e["body"]["host"] == host).map(|e| &e["body"]);
    let opened = of("tunnel-opened", "127.0.0.1").expect("it is on record");
    assert_eq!(opened["rule"], format!("127.0.0.1:{port}"));
    assert_eq!(of("tunnel-refused", "evil.example").expect("on record")["why"], "not_listed");
    let carried = of("tunnel-closed", "127.0.0.1").expect("on record");
    assert!(carried["received_bytes"].as_u64().is_some_and(|n| n > 9), "{carried:#}");
    let (status, log) = olga.get(&format!("/v1/audit?task={id}&limit=1000"));
    assert_eq!(status, 200, "{log:#}");
    for kind in ["tunnel.opened", "tunnel.refused", "tunnel.closed"] {
        assert!(log.to_string().contains(kind), "{kind}: {log:#}");
    }
    assert!(!log.to_string().contains("well come") && !log.to_string().contains("coda_egress_"), "no content, no secret");
}

#[test]
fn in_tier_a_what_is_listed_is_reached_and_nothing_else() {
    through_the_gateway("require", "tier A");
}

#[test]
fn in_tier_b_it_is_reached_in_the_same_way() {
    through_the_gateway("floor", "tier B");
}
