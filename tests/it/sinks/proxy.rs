//! A TCP proxy that loses replies: the server has done its work, the client never hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Forwards to a MongoDB server; loses the reply to a command on demand.
pub struct Proxy {
    pub address: String,
    armed: Arc<std::sync::Mutex<Option<Vec<u8>>>>,
    lost: Arc<AtomicU64>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn to(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let armed = Arc::new(std::sync::Mutex::new(None));
        let lost = Arc::new(AtomicU64::new(0));
        let (arm, count) = (armed.clone(), lost.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, server, arm.clone(), count.clone()));
            }
        });
        Proxy { address, armed, lost, accepting }
    }

    /// Loses the reply to the next command `verb` upon `collection`, once.
    pub fn lose_reply_to(&self, verb: &str, collection: &str) {
        let mut start = format!("{verb}\0").into_bytes();
        start.extend_from_slice(&(collection.len() as u32 + 1).to_le_bytes());
        start.extend_from_slice(format!("{collection}\0").as_bytes());
        *self.armed.lock().unwrap() = Some(start);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    armed: Arc<std::sync::Mutex<Option<Vec<u8>>>>,
    lost: Arc<AtomicU64>,
) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut doomed = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 => {
                    doomed |= is_awaited(&armed, &up[..n]);
                    if server.write_all(&up[..n]).await.is_err() { return }
                }
                _ => return,
            },
            read = server.read(&mut down) => match read {
                // The command has been executed: its reply is here, and goes nowhere.
                Ok(n) if n > 0 && doomed => {
                    lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Ok(n) if n > 0 => if client.write_all(&down[..n]).await.is_err() { return },
                _ => return,
            },
        }
    }
}

/// Whether these bytes hold the command that the proxy waits for; then it waits no longer.
fn is_awaited(armed: &std::sync::Mutex<Option<Vec<u8>>>, bytes: &[u8]) -> bool {
    let mut armed = armed.lock().unwrap();
    let here = armed.as_ref().is_some_and(|start| bytes.windows(start.len()).any(|window| window == start));
    if here {
        *armed = None;
    }
    here
}
