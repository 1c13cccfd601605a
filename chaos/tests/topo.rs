//! Hosts with addresses of their own: what one sees of another while a link misbehaves.
#![expect(clippy::panic, clippy::print_stdout, reason = "a test fails, and says how long it took")]

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use chaos::client::MemberClient;
use chaos::cluster::{Launcher, Process};
use chaos::history::{Action, Outcome, Step, StepReply};
use chaos::limits;
use chaos::topo::{Counts, Policy, Topo, shapes};

/// How long something may take that does happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long something is given that must not happen.
const SILENCE: Duration = Duration::from_millis(200);

/// Seeds the links' chance in all stories.
const SEED: u64 = 7;

fn begin(hosts: usize) -> Option<Topo> {
    if let Err(reason) = Topo::check() {
        testbed::skip(&format!("this machine has no hosts in namespaces: {reason:#}"));
        return None;
    }
    Some(Topo::start(hosts, SEED).expect("it was possible just now"))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(limits::BENCH_POLL_INTERVAL);
    }
}

/// A connection from one host to another: its two ends.
fn connect(topo: &Topo, from: usize, to: usize) -> (TcpStream, TcpStream) {
    let address = topo.host(to).address();
    let listener = topo.host(to).run(|| TcpListener::bind((address, 0))).expect("a host");
    let listener = listener.expect("a port");
    let target = listener.local_addr().expect("an address");
    let connect = || TcpStream::connect_timeout(&target, DEADLINE);
    let near = topo.host(from).run(connect).expect("a host").expect("a connection");
    let (far, _) = listener.accept().expect("the other end");
    for end in [&near, &far] {
        end.set_nodelay(true).expect("an option");
        end.set_read_timeout(Some(DEADLINE)).expect("an option");
        end.set_write_timeout(Some(DEADLINE)).expect("an option");
    }
    (near, far)
}

/// A socket for single datagrams, and how others reach it.
fn datagrams(topo: &Topo, host: usize) -> (UdpSocket, SocketAddr) {
    let address = topo.host(host).address();
    let socket = topo.host(host).run(|| UdpSocket::bind((address, 0))).expect("a host");
    let socket = socket.expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// The next datagram, if one comes in time.
fn received(socket: &UdpSocket, deadline: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(deadline)).expect("an option");
    let mut buffer = [0; 2048];
    match socket.recv(&mut buffer) {
        Ok(bytes) => Some(buffer[..bytes].to_vec()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Sends one byte there and back, and says how long it took.
fn round_trip(near: &mut TcpStream, far: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let mut byte = [42];
    near.write_all(&byte).expect("there");
    far.read_exact(&mut byte).expect("there");
    far.write_all(&byte).expect("back");
    near.read_exact(&mut byte).expect("back");
    start.elapsed()
}

/// Sends so many bytes, each different from its neighbours, and checks what arrives.
fn transfer(near: &mut TcpStream, far: &mut TcpStream, bytes: usize) -> Duration {
    let pattern: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let start = Instant::now();
    let arrived = std::thread::scope(|scope| {
        scope.spawn(|| near.write_all(&pattern).expect("there"));
        let mut arrived = vec![0; bytes];
        far.read_exact(&mut arrived).expect("there");
        arrived
    });
    let took = start.elapsed();
    assert!(arrived == pattern, "what arrived is not what was sent");
    took
}

#[test]
fn hosts_reach_each_other_by_their_addresses() {
    let Some(topo) = begin(3) else { return };
    let (mut near, mut far) = connect(&topo, 0, 2);
    assert_eq!(near.local_addr().expect("an address").ip(), topo.host(0).address());
    assert_eq!(near.peer_addr().expect("an address").ip(), topo.host(2).address());

    let mut trips: Vec<_> = (0..1000).map(|_| round_trip(&mut near, &mut far)).collect();
    trips.sort();
    let bytes = 64 << 20;
    let took = transfer(&mut near, &mut far, bytes);
    println!("round trip: median {:?}, 99th of 100 {:?}", trips[500], trips[990]);
    println!("transfer: {:.0} MB/s", bytes as f64 / 1e6 / took.as_secs_f64());

    assert!(topo.switch().counts(0, 2).passed > 1000);
    assert_eq!(topo.switch().counts(0, 1), Counts::default(), "unicast goes to one host");
}

#[test]
fn nothing_leaves_a_topology() {
    let Some(topo) = begin(2) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of this machine");
    let target = listener.local_addr().expect("an address");
    let connect = || TcpStream::connect_timeout(&target, DEADLINE);
    let refused = topo.host(0).run(connect).expect("a host").expect_err("its loopback is its own");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    // Only asks the routing table: a datagram socket that is connected has sent nothing yet.
    let (socket, _) = datagrams(&topo, 0);
    let unreachable = socket.connect("192.0.2.1:9").expect_err("it has no route to anywhere");
    assert_eq!(unreachable.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn a_cut_link_passes_nothing_and_says_so_until_it_is_healed() {
    let Some(topo) = begin(2) else { return };
    let ((a, to_a), (b, to_b)) = (datagrams(&topo, 0), datagrams(&topo, 1));
    a.send_to(b"before", to_b).expect("sent");
    assert_eq!(received(&b, DEADLINE).as_deref(), Some(&b"before"[..]));

    topo.switch().cut(&shapes::partition(&[0], &[1]));
    a.send_to(b"lost", to_b).expect("sent");
    b.send_to(b"lost too", to_a).expect("sent");
    wait_until("both are counted", || {
        [(0, 1), (1, 0)].iter().all(|(from, to)| topo.switch().counts(*from, *to).dropped == 1)
    });
    assert_eq!(topo.switch().counts(0, 1), Counts { sent: 2, passed: 1, dropped: 1, ..none() });
    assert_eq!(received(&b, SILENCE), None);
    assert_eq!(received(&a, SILENCE), None);

    topo.switch().heal();
    a.send_to(b"after", to_b).expect("sent");
    assert_eq!(received(&b, DEADLINE).as_deref(), Some(&b"after"[..]));
    assert_eq!(topo.switch().counts(0, 1), Counts { sent: 3, passed: 2, dropped: 1, ..none() });
}

fn none() -> Counts {
    Counts::default()
}

#[test]
fn a_link_that_is_cut_one_way_still_passes_the_other() {
    let Some(topo) = begin(2) else { return };
    let ((a, to_a), (b, to_b)) = (datagrams(&topo, 0), datagrams(&topo, 1));
    topo.switch().cut(&shapes::one_way(&[1], &[0]));
    a.send_to(b"question", to_b).expect("sent");
    assert_eq!(received(&b, DEADLINE).as_deref(), Some(&b"question"[..]));
    b.send_to(b"answer", to_a).expect("sent");
    assert_eq!(received(&a, SILENCE), None);
    assert_eq!(topo.switch().counts(1, 0), Counts { sent: 1, dropped: 1, ..none() });
    assert_eq!(topo.switch().counts(0, 1), Counts { sent: 1, passed: 1, ..none() });
}

#[test]
fn an_isolated_host_leaves_the_others_together() {
    let Some(topo) = begin(3) else { return };
    let ((a, to_a), (b, to_b), (c, _)) =
        (datagrams(&topo, 0), datagrams(&topo, 1), datagrams(&topo, 2));
    topo.switch().isolate(1);
    a.send_to(b"to nobody", to_b).expect("sent");
    c.send_to(b"together", to_a).expect("sent");
    assert_eq!(received(&a, DEADLINE).as_deref(), Some(&b"together"[..]));
    assert_eq!(received(&b, SILENCE), None);
}

#[test]
fn a_delay_is_seen_in_a_round_trip_and_is_gone_after_it() {
    let Some(topo) = begin(2) else { return };
    let (mut near, mut far) = connect(&topo, 0, 1);
    let ms = Duration::from_millis;
    let slow = Policy { delay: ms(40), jitter: ms(20), ..Policy::default() };
    topo.switch().set(0, 1, slow);
    let took = round_trip(&mut near, &mut far);
    assert!(took >= ms(40), "{took:?}");
    topo.switch().set(1, 0, topo.switch().policy(0, 1));
    let took = round_trip(&mut near, &mut far);
    assert!(took >= ms(80), "{took:?}");
    println!("round trip with 40 to 60 ms each way: {took:?}");
    assert!(topo.switch().counts(0, 1).delayed >= 2);

    topo.switch().heal();
    let quickest = (0..100).map(|_| round_trip(&mut near, &mut far)).min();
    assert!(quickest.is_some_and(|took| took < ms(40)), "{quickest:?}");
}

/// What TCP is made for: not one byte is missing or wrong, and each fault did happen.
#[test]
fn tcp_delivers_over_links_that_lose_double_corrupt_and_reorder() {
    let Some(topo) = begin(2) else { return };
    let (mut near, mut far) = connect(&topo, 0, 1);
    topo.switch().set_all(&Policy {
        loss: 0.02,
        duplicate: 0.05,
        corrupt: 0.02,
        jitter: Duration::from_millis(2),
        reorder: true,
        ..Policy::default()
    });
    let bytes = 1 << 20;
    let took = transfer(&mut near, &mut far, bytes);
    let counts = topo.switch().counts(0, 1);
    println!("{bytes} bytes in {took:?}: {counts:?}");
    assert!(counts.dropped > 0 && counts.duplicated > 0, "{counts:?}");
    assert!(counts.corrupted > 0 && counts.delayed > 0, "{counts:?}");
}

#[test]
fn a_link_can_lose_large_frames_only() {
    let Some(topo) = begin(2) else { return };
    let ((a, _), (b, to_b)) = (datagrams(&topo, 0), datagrams(&topo, 1));
    topo.switch().set(0, 1, Policy { larger_than: Some(600), ..Policy::default() });
    a.send_to(&[1; 1000], to_b).expect("sent");
    a.send_to(&[2; 100], to_b).expect("sent");
    assert_eq!(received(&b, DEADLINE), Some(vec![2; 100]));
    assert_eq!(topo.switch().counts(0, 1), Counts { sent: 2, passed: 1, dropped: 1, ..none() });
}

fn namespace(of: &Path) -> Option<String> {
    let target = std::fs::read_link(of).ok()?;
    Some(target.to_string_lossy().into_owned())
}

/// Whether any thread of this machine is in the namespace, or this process holds it open.
fn is_held(namespace_sought: &str) -> bool {
    let entries = |folder: &Path| {
        let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
        listed.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let processes = entries(Path::new("/proc"));
    let tasks = processes.iter().flat_map(|process| entries(&process.join("task")));
    let in_use = tasks.map(|task| task.join("ns/net"));
    let mut held = in_use.chain(entries(Path::new("/proc/self/fd")));
    held.any(|link| namespace(&link).is_some_and(|one| one == namespace_sought))
}

#[test]
fn a_process_on_a_host_is_the_program_itself_and_nothing_is_left_after_it() {
    let Some(topo) = begin(2) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let launcher =
        Launcher { program: "sleep".into(), arguments: vec!["600".to_owned()], extra: Vec::new() };
    let log = folder.path().join("log");
    let process = topo.host(1).run(|| Process::spawn(&launcher, &[], &log)).expect("a host");
    let process = process.expect("a process");
    let about = Path::new("/proc").join(process.id().to_string());
    let name = std::fs::read_to_string(about.join("comm")).expect("its name");
    assert_eq!(name.trim(), "sleep");

    let own = namespace(Path::new("/proc/thread-self/ns/net")).expect("our namespace");
    let theirs = namespace(&about.join("ns/net")).expect("its namespace");
    assert_ne!(theirs, own);
    assert!(is_held(&theirs));
    let interfaces = || std::fs::read_to_string("/proc/net/dev").expect("a list");
    assert!(!interfaces().contains("orlop0"), "it is the hosts' alone");

    process.kill().expect("its end");
    assert!(is_held(&theirs), "the host itself stays");
    drop(topo);
    assert!(!is_held(&theirs), "nobody is in it, and nothing holds it");
    assert!(!interfaces().contains("orlop0"));
}

/// Three members of a store, each on a host of its own: 1, 2 and 3. The client is on host 0.
struct Members {
    // Killed before their hosts go.
    processes: Vec<Option<Process>>,
    launcher: Launcher,
    folder: tempfile::TempDir,
}

impl Members {
    fn start(topo: &Topo, launcher: &Launcher) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut members = Self { processes: Vec::new(), launcher: launcher.clone(), folder };
        for host in 1..=3 {
            let process = members.spawn(topo, host);
            members.processes.push(Some(process));
        }
        members
    }

    /// Starts the member of a host, also again.
    fn spawn(&self, topo: &Topo, host: usize) -> Process {
        let url = |host: usize, port| format!("http://{}:{port}", topo.host(host).address());
        let peers: Vec<_> = (1..=3).map(|host| format!("m{host}={}", url(host, 2380))).collect();
        let arguments = [
            ("--name", format!("m{host}")),
            ("--data-dir", self.folder.path().join(format!("m{host}")).display().to_string()),
            ("--listen-client-urls", url(host, 2379)),
            ("--advertise-client-urls", url(host, 2379)),
            ("--listen-peer-urls", url(host, 2380)),
            ("--initial-advertise-peer-urls", url(host, 2380)),
            ("--initial-cluster", peers.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
        ]
        .map(|(flag, value)| format!("{flag}={value}"));
        let log = self.folder.path().join(format!("m{host}.log"));
        let spawned = topo.host(host).run(|| Process::spawn(&self.launcher, &arguments, &log));
        spawned.expect("a host").expect("a process")
    }
}

fn client(topo: &Topo, host: usize) -> MemberClient {
    MemberClient::new(&format!("http://{}:2379", topo.host(host).address())).expect("a client")
}

/// Repeats an action on a member until it succeeds, and says how long that took.
async fn succeeds(topo: &Topo, host: usize, step: Step) -> (StepReply, Duration) {
    let action = Action::Single { step, serializable: false };
    let start = Instant::now();
    let mut client = client(topo, host);
    loop {
        match client.execute(&action).await {
            Outcome::Ok(mut reply) => return (reply.steps.remove(0), start.elapsed()),
            Outcome::Refused(why) | Outcome::Unknown(why) => {
                assert!(start.elapsed() < limits::BRING_UP_DEADLINE, "member {host}: {why}");
            }
        }
        tokio::time::sleep(limits::POLL_INTERVAL).await;
    }
}

/// The host of the member that leads, in the highest term that anybody knows.
async fn leader(topo: &Topo) -> Option<usize> {
    let mut best = None;
    for host in 1..=3 {
        if let Ok(status) = client(topo, host).status().await
            && status.member_id == status.leader_id
        {
            best = best.max(Some((status.term, host)));
        }
    }
    best.map(|(_, host)| host)
}

fn put(value: &str) -> Step {
    Step::Put { key: "key".to_owned(), value: value.to_owned() }
}

async fn lives_through_a_partition(topo: &Topo, _: &mut Members) {
    for host in 1..=3 {
        succeeds(topo, host, put("before")).await;
    }
    let old = leader(topo).await.expect("somebody leads");
    let others: Vec<usize> = (1..=3).filter(|host| *host != old).collect();
    topo.switch().cut(&shapes::partition(&[old], &others));
    let (_, took) = succeeds(topo, others[0], put("through the majority")).await;
    println!("a write through the majority {took:?} after its leader was cut off");
    let new = leader(topo).await.expect("somebody leads");
    assert_ne!(new, old);
    for other in &others {
        assert!(topo.switch().counts(old, *other).dropped > 0, "its heartbeats are lost");
    }

    topo.switch().heal();
    let (reply, took) = succeeds(topo, old, Step::Get { key: "key".to_owned() }).await;
    println!("a linearizable read on the old leader {took:?} after the heal");
    let StepReply::Read { found } = reply else { panic!("not a read: {reply:?}") };
    assert_eq!(found[0].value, "through the majority");
}

/// How long a frame is under way between members that are far from each other: there and back takes longer
/// than two heartbeats, and a new connection with one question on it longer than half of an election.
const FAR: Duration = Duration::from_millis(130);

async fn elects_over_long_ways(topo: &Topo, members: &mut Members) {
    let far = Policy { delay: FAR, ..Policy::default() };
    for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
        topo.switch().set(from, to, far.clone());
    }
    for host in 1..=3 {
        succeeds(topo, host, put("before")).await;
    }
    let old = leader(topo).await.expect("somebody leads");
    let other = old % 3 + 1;
    members.processes[old - 1] = None;
    let (_, took) = succeeds(topo, other, put("after")).await;
    println!("a write {took:?} after its leader's end");
    members.processes[old - 1] = Some(members.spawn(topo, old));
    succeeds(topo, old, put("again")).await;

    // Who leads hears of the others in time, though none of them answers before the next heartbeat is due.
    let before = client(topo, other).status().await.expect("it answers");
    for _ in 0..12 {
        succeeds(topo, old, put("on and on")).await;
    }
    let after = client(topo, other).status().await.expect("it answers");
    assert_eq!((after.leader_id, after.term), (before.leader_id, before.term));
}

fn story_of_members(launcher: &Launcher, tell: impl AsyncFnOnce(&Topo, &mut Members) + Send) {
    let Some(topo) = begin(4) else { return };
    let mut members = Members::start(&topo, launcher);
    let told = topo.host(0).run(|| -> io::Result<()> {
        // Its threads are of the host that it is made on, and so are the clients' sockets.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(tell(&topo, &mut members));
        Ok(())
    });
    told.expect("a host").expect("a runtime");
    assert!(members.processes.iter().all(Option::is_some));
}

#[test]
fn orlop_writes_on_while_its_leader_is_cut_off() {
    let launcher = Launcher::orlop(&testbed::orlop(&["proto", "store"]));
    story_of_members(&launcher, lives_through_a_partition);
}

#[test]
fn etcd_writes_on_while_its_leader_is_cut_off() {
    let Some(etcd) = testbed::program("etcd") else { return };
    story_of_members(&Launcher::etcd(&etcd), lives_through_a_partition);
}

#[test]
fn orlop_elects_over_long_ways() {
    let launcher = Launcher::orlop(&testbed::orlop(&["proto", "store"]));
    story_of_members(&launcher, elects_over_long_ways);
}

#[test]
fn etcd_elects_over_long_ways() {
    let Some(etcd) = testbed::program("etcd") else { return };
    story_of_members(&Launcher::etcd(&etcd), elects_over_long_ways);
}
