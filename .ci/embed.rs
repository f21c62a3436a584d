//! The daemon in a program of its own, as `.ci/try-release` tries it: files below `data/meetings`, until
//! the input ends.
use rtmsd::protocol::AllowedHosts;
use rtmsd::{App, AppCredentials, Daemon, RecorderSettings, RestCredentials, Secret, Settings};
use std::{env::var, io::Read, net::TcpListener, path::PathBuf, thread};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (id, secret) = (var("ZOOM_CLIENT_ID")?, Secret::new(var("ZOOM_CLIENT_SECRET")?));
    let tokens = vec![Secret::new(var("ZOOM_SECRET_TOKEN")?)];
    let mut app = App::new(AppCredentials { id, secret }, tokens);
    let token = Secret::new(var("access_token")?);
    (app.rest.credentials, app.rest.api_url) = (RestCredentials::Static { token }, var("ZOOM_API_URL")?);
    let mut settings = Settings::new(app);
    settings.allowed_hosts = AllowedHosts::parse(&var("RTMS_ALLOWED_HOSTS")?)?;
    settings.ca_file = Some(PathBuf::from(var("RTMS_CA_FILE")?));
    settings.disk = Some(RecorderSettings { root: "data/meetings".into(), ..RecorderSettings::default() });
    let listener = TcpListener::bind(("127.0.0.1", var("PORT")?.parse()?))?;
    let daemon = Daemon::start(vec![listener], settings, None)?;
    let handle = daemon.handle();
    thread::spawn(move || std::io::stdin().read_to_end(&mut Vec::new()).map(|_| handle.stop()));
    daemon.run();
    Ok(())
}
