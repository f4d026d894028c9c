//! The bytes of a tunnel: both ways at once, counted, bounded, and only after its beginning has said what it must.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Bounds;
use super::hello::{self, Beginning};
use super::way::Way;

const BUFFER_BYTES: usize = 16 << 10;

/// How many bytes went where.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Counters {
    /// To the host.
    pub(in crate::gateway) sent: AtomicU64,
    /// To the agent.
    pub(in crate::gateway) received: AtomicU64,
}

/// What all directions of a tunnel share.
struct Meter<'a> {
    way: &'a Way,
    most_bytes: u64,
    // A std mutex: held to set or to read, never across an await.
    moved: Mutex<Instant>,
}

impl Meter<'_> {
    fn last(&self) -> Instant {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of bytes that are about to move. `Err` where they are more than the task may have.
    fn take(&self, bytes: usize) -> Result<(), &'static str> {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if self.way.count_bytes(bytes as u64, self.most_bytes) { Ok(()) } else { Err("max_tunnel_bytes") }
    }

    /// Completes when nothing has moved for `limit`.
    async fn idle(&self, limit: Duration) {
        while self.last().elapsed() < limit {
            sleep_until(self.last() + limit).await;
        }
    }
}

/// Carries bytes until it is over; says why it is. A tunnel to a `name` must begin with TLS that asks for it.
pub(in crate::gateway) async fn pass<C>(
    client: &mut C,
    server: &mut TcpStream,
    name: Option<&str>,
    way: &Way,
    bounds: &Bounds,
    counters: &Counters,
) -> &'static str
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let meter = Meter { way, most_bytes: bounds.max_tunnel_bytes, moved: Mutex::new(Instant::now()) };
    let idle = Duration::from_secs(bounds.tunnel_idle_s);
    let carried = async {
        if let Some(name) = name {
            let patience = Duration::from_secs(bounds.tunnel_connect_timeout_s);
            let first = timeout(patience, beginning(client, name)).await.unwrap_or(Err("no_tls"))?;
            meter.take(first.len())?;
            server.write_all(&first).await.map_err(|_| "closed")?;
            counters.sent.fetch_add(first.len() as u64, Ordering::Relaxed);
        }
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            one_way(from_client, to_server, &meter, &counters.sent),
            one_way(from_server, to_client, &meter, &counters.received)
        )?;
        Ok::<(), &'static str>(())
    };
    tokio::select! {
        carried = carried => carried.err().unwrap_or("closed"),
        () = meter.idle(idle) => "idle",
    }
}

/// What the client says first, once it is known to be TLS for this name.
async fn beginning(client: &mut (impl AsyncRead + Unpin), name: &str) -> Result<Vec<u8>, &'static str> {
    let mut first = Vec::new();
    loop {
        if client.read_buf(&mut first).await.map_err(|_| "closed")? == 0 {
            return Err("closed");
        }
        match hello::read(&first) {
            Beginning::Unfinished => {}
            Beginning::Tls(Some(asked)) if asked.trim_end_matches('.') == name => return Ok(first),
            Beginning::Tls(_) => return Err("other_name"),
            Beginning::Other => return Err("no_tls"),
        }
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    meter: &Meter<'_>,
    counter: &AtomicU64,
) -> Result<(), &'static str> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await.map_err(|_| "closed")?;
        if count == 0 {
            // The other direction may have more to say.
            let _ = to.shutdown().await;
            return Ok(());
        }
        meter.take(count)?;
        to.write_all(&buffer[..count]).await.map_err(|_| "closed")?;
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
