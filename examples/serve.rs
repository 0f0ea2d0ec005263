//! Brasa's models in a server of one's own: they are mounted below `/models`, beside whatever else there is.
//!
//! `cargo run --example serve` answers one request of its own and ends; with an address
//! (`cargo run --example serve 127.0.0.1:8501`) it serves until Ctrl-C.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use brasa::prelude::*;
use brasa::serve::{Listener, Options, Server};
use tower::Service;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // A network that doubles; `Model::load("model.keras")?` would be one from a file.
    let mut model = Sequential::new();
    model.add(Rescaling::new(2.0).input_shape(3))?;

    let server = Server::new(Options { max_batch_size: 32, ..Options::default() })?;
    server.add("double", 1, model.into())?;
    let mut app: Router = Router::new().route("/hello", get(|| async { "hello" })).nest("/ai", server.router());

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(address) = std::env::args().nth(1) {
            let listener = tokio::net::TcpListener::bind(address).await?;
            println!("Listening on http://{}/ai", listener.local_addr()?);
            // Or `server.serve(…)`, which has Brasa's limits for slow clients, TLS, and an end that loses no request; but
            // serves nothing else.
            loop {
                let (stream, _) = listener.accept().await?;
                let app = app.clone();
                tokio::spawn(async move {
                    let service = hyper_util::service::TowerToHyperService::new(app);
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        }
        let request = Request::post("/ai/predict/double").body(Body::from("[1, 2, 3]"))?;
        let answer = app.call(request).await?;
        let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await?;
        println!("{}", String::from_utf8_lossy(&text).trim());
        assert_eq!(&text[..], b"[{\"input\":\"row 1\",\"output\":[2.0,4.0,6.0]}]\n");
        // The same server listens by itself, too.
        let listener = Listener::bind("127.0.0.1:0").await?;
        println!("and at {} until now", listener.address());
        server.serve(vec![listener], None, async {}).await?;
        Ok(())
    })
}
