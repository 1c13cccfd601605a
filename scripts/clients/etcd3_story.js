// npm's etcd3 against one member, over gRPC: keys, watches, leases, locks, elections, users.
//
// Usage: node etcd3_story.js HOST:PORT. Prints one line for each thing that went as it must.

const assert = require('node:assert');
const { Etcd3 } = require('etcd3');

const hosts = `http://${process.argv[2]}`;
const done = (what) => console.log('ok', what);
const until = async (check) => {
  const deadline = Date.now() + 10000;
  while (!(await check())) {
    assert(Date.now() < deadline, 'nothing happened in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

async function keys(client) {
  await client.put('js/a').value('1');
  assert.equal(await client.get('js/a').string(), '1');
  await client.put('js/b').value('2');
  assert.deepEqual(await client.getAll().prefix('js/').strings(), { 'js/a': '1', 'js/b': '2' });
  const { succeeded } = await client
    .if('js/a', 'Value', '==', '1')
    .then(client.put('js/a').value('one'))
    .else(client.get('js/a'))
    .commit();
  assert.equal(succeeded, true);
  assert.equal(await client.get('js/a').string(), 'one');
  await client.delete().key('js/b');
  assert.equal(await client.get('js/b').string(), null);
  done('keys');
}

async function watches(client) {
  const seen = [];
  const watcher = await client.watch().prefix('js/w/').create();
  watcher.on('put', (kv) => seen.push(`put ${kv.key} ${kv.value}`));
  watcher.on('delete', (kv) => seen.push(`delete ${kv.key}`));
  await client.put('js/w/0').value('0');
  await client.put('js/w/1').value('1');
  await client.delete().key('js/w/0');
  await until(() => seen.length === 3);
  assert.deepEqual(seen, ['put js/w/0 0', 'put js/w/1 1', 'delete js/w/0']);
  await watcher.cancel();
  done('watches');
}

async function leases(client) {
  const lease = client.lease(5);
  await lease.put('js/leased').value('x');
  await lease.keepaliveOnce();
  assert.equal(await client.get('js/leased').string(), 'x');
  await lease.revoke();
  assert.equal(await client.get('js/leased').string(), null);
  done('leases');
}

async function locks(client) {
  const lock = client.lock('js-lock');
  await lock.acquire();
  await assert.rejects(client.lock('js-lock').acquire());
  await lock.release();
  await client.lock('js-lock').do(async () => {});
  done('locks');
}

async function elections(client) {
  const election = client.election('js-election', 5);
  const campaign = election.campaign('me');
  await new Promise((resolve, reject) => {
    campaign.on('elected', resolve);
    campaign.on('error', reject);
  });
  const observer = await election.observe();
  await until(() => observer.leader() === 'me');
  await campaign.resign();
  await observer.cancel();
  done('elections');
}

async function users(client) {
  const root = client.user('root');
  await root.create('pw');
  const role = client.role('root');
  await role.create();
  await root.addRole('root');
  await client.auth.authEnable();
  const known = new Etcd3({ hosts, auth: { username: 'root', password: 'pw' } });
  try {
    await assert.rejects(client.get('js/a').string(), /user name is empty/);
    assert.equal(await known.get('js/a').string(), 'one');
    const wrong = new Etcd3({ hosts, auth: { username: 'root', password: 'no' } });
    await assert.rejects(wrong.get('js/a').string(), /authentication failed/);
    wrong.close();
  } finally {
    await known.auth.authDisable();
    known.close();
    await root.delete();
    await role.delete();
  }
  done('users');
}

async function main() {
  const client = new Etcd3({ hosts });
  for (const story of [keys, watches, leases, locks, elections, users]) {
    await story(client);
  }
  await client.delete().prefix('js/');
  client.close();
  console.log('etcd3', require('etcd3/package.json').version, 'is content');
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
