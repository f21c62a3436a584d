//! The daemon in a new program, as `.ci/try-release` tries it: files below `data/meetings`, until the input
//! ends. The settings are in the environment.
use std::{env::var, io::Read, net::TcpListener, thread};

use rtmsd::{App, AppCredentials, Daemon, RecorderSettings, RestCredentials, Secret, Settings, protocol::AllowedHosts};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (id, secret) = (var("ZOOM_CLIENT_ID")?, Secret::new(var("ZOOM_CLIENT_SECRET")?));
    let (client_id, client_secret, account_id) = (id.clone(), secret.clone(), var("ZOOM_ACCOUNT_ID")?);
    let tokens = var("ZOOM_SECRET_TOKEN")?.split(',').map(Secret::new).collect();
    let mut app = App::new(AppCredentials { id, secret }, tokens);
    app.rest.credentials = RestCredentials::ServerToServer { account_id, client_id, client_secret };
    (app.rest.api_url, app.rest.oauth_url) = (var("ZOOM_API_URL")?, var("ZOOM_OAUTH_URL")?);
    let mut settings = Settings::new(app);
    settings.allowed_hosts = AllowedHosts::parse(&var("RTMS_ALLOWED_HOSTS")?)?;
    settings.ca_file = Some(var("RTMS_CA_FILE")?.into());
    settings.disk = Some(RecorderSettings { root: "data/meetings".into(), ..RecorderSettings::default() });
    let listener = TcpListener::bind(("127.0.0.1", var("PORT")?.parse()?))?;
    let daemon = Daemon::start(vec![listener], settings, None)?;
    let handle = daemon.handle();
    thread::spawn(move || std::io::stdin().read_to_end(&mut Vec::new()).map(|_| handle.stop()));
    daemon.run();
    Ok(())
}
