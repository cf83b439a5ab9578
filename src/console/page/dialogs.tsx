import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { FindRequest, GroupSize } from '../api.js';
import { ApiError } from './api-client.js';
import { CompareDialog } from './compare-dialog.js';
import { CopyButton } from './copy-button.js';
import { connect, deselect, dialog, loadEntry, perform, select, selection, logProblem } from './app-state.js';
import { DialogFrame, Field, textIn } from './dialog-frame.js';
import type { ServerStore } from './server-store.js';
import { childName, parentName, ROOT } from './tree-rows.js';

/** The open dialog, if any. */
export function Dialogs(): JSX.Element | null {
  const request = dialog.value;
  switch (request?.kind) {
    case undefined:
      return null;
    case 'connect':
      return <ConnectDialog />;
    case 'compare':
      return <CompareDialog />;
    case 'register':
      return <RegisterDialog {...request} />;
    case 'createGroup':
      return <CreateGroupDialog {...request} />;
    case 'setMeta':
      return <SetMetaDialog {...request} />;
    case 'unregister':
      return <RemoveDialog {...request} />;
    case 'deleteGroup':
      return <DeleteGroupDialog {...request} />;
    case 'resolve':
      return <ResolveDialog {...request} />;
    case 'resync':
      return <ResyncDialog {...request} />;
    case 'shutdown':
      return <ShutdownDialog {...request} />;
  }
}

interface ServerProps {
  readonly store: ServerStore;
}
interface NameProps extends ServerProps {
  readonly name: string;
}
interface GroupProps extends ServerProps {
  readonly group: string;
}

function ConnectDialog(): JSX.Element {
  const [isDenied, setDenied] = useState(false);
  const [way, setWay] = useState<'broadcast' | 'host'>('broadcast');
  const submit = async (form: FormData): Promise<undefined> => {
    try {
      await connect(findRequest(form, way));
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isDenied) throw error;
      setDenied(true);
      throw new Error(`The name server refuses: ${error.message}. It wants another identification.`, { cause: error });
    }
  };
  return (
    <DialogFrame title="Connect to a name server" submit="Connect" onSubmit={submit}>
      <fieldset class="choices">
        <legend class="visually-hidden">How to find it</legend>
        <label>
          <input
            type="radio"
            name="way"
            checked={way === 'broadcast'}
            onChange={() => {
              setWay('broadcast');
            }}
          />
          <span>Find it by broadcast</span>
        </label>
        <label>
          <input
            type="radio"
            name="way"
            checked={way === 'host'}
            onChange={() => {
              setWay('host');
            }}
          />
          <span>At this host</span>
        </label>
      </fieldset>
      {way === 'host' ? (
        <Field
          key="location"
          label="Name server"
          name="location"
          placeholder="host:port"
          hint="Without a port, Pyro's own: 9090."
          isRequired
          hasFocus
        />
      ) : (
        <Field
          key="broadcast"
          label="Broadcast address"
          name="broadcastAddress"
          placeholder="255.255.255.255"
          hint="Leave it empty to ask everywhere."
          hasFocus
        />
      )}
      <Field
        label="Identification"
        name="identification"
        isSecret
        hint={isDenied ? 'This one was wrong.' : 'Only where the name server wants one. It is never shown again.'}
      />
    </DialogFrame>
  );
}

/** Parses `host` or `host:port`. @throws Error where it is neither */
function findRequest(form: FormData, way: 'broadcast' | 'host'): FindRequest {
  const location = way === 'host' ? textIn(form, 'location') : '';
  const broadcastAddress = way === 'broadcast' ? textIn(form, 'broadcastAddress') : '';
  // A passphrase may begin or end with white space.
  const identification = form.get('identification');
  const [host = '', port = '', ...others] = location.split(':');
  if (
    others.length > 0 ||
    (port !== '' && !(Number(port) > 0 && Number(port) < 65536)) ||
    (way === 'host' && host === '')
  ) {
    throw new Error(`${location} is no host:port, such as 192.168.1.20:9090`);
  }
  return {
    ...(host === '' ? {} : { host }),
    ...(port === '' ? {} : { port: Number(port) }),
    ...(broadcastAddress === '' ? {} : { broadcastAddress }),
    ...(typeof identification === 'string' && identification !== '' ? { identification } : {}),
  };
}

function RegisterDialog({ store, group }: GroupProps): JSX.Element {
  const submit = async (form: FormData): Promise<undefined> => {
    const [name, uri] = [textIn(form, 'name'), textIn(form, 'uri')];
    const action = () => store.call<{ readonly name: string }>('register', { name, uri });
    const done = await perform(store, `Register ${name}`, action, (result) => `Registered ${result.name} as ${uri}`);
    void show(store, done.name);
  };
  return (
    <DialogFrame title="Register a name" submit="Register" onSubmit={submit}>
      <Field
        label="Name"
        name="name"
        value={childName(group, '')}
        hint="One without a colon in front is below the default group."
        isRequired
        hasFocus
      />
      <Field label="URI" name="uri" placeholder="PYRO://192.168.1.20:7766/0a1b2c…" isRequired />
    </DialogFrame>
  );
}

function CreateGroupDialog({ store, group }: GroupProps): JSX.Element {
  const submit = async (form: FormData): Promise<undefined> => {
    const name = textIn(form, 'name');
    const action = () => store.call<{ readonly group: string }>('createGroup', { group: name });
    const done = await perform(store, `Create group ${name}`, action, (result) => `Created group ${result.group}`);
    void show(store, done.group);
  };
  return (
    <DialogFrame title="New group" submit="Create group" onSubmit={submit}>
      <Field label="Name" name="name" value={childName(group, '')} isRequired hasFocus />
    </DialogFrame>
  );
}

/** Shows a name, such as one that was just created. Runs in the background: the dialog does not wait for it. */
async function show(store: ServerStore, name: string): Promise<void> {
  try {
    await store.refresh(parentName(name));
    await store.reveal(name);
    await select(store, name);
  } catch (error) {
    logProblem(store, `Show ${name}`, error);
  }
}

function SetMetaDialog({ store, name }: NameProps): JSX.Element {
  const [as, setAs] = useState<'text' | 'json' | 'none'>('text');
  const submit = async (form: FormData): Promise<undefined> => {
    const value = form.get('text');
    const request = { name, as, text: typeof value === 'string' ? value : '' };
    await perform(
      store,
      `Set metadata of ${name}`,
      () => store.call('setMeta', request),
      () => `Set metadata of ${name}`,
    );
    if (selection.value?.name === name) await loadEntry();
  };
  const choices = { text: 'A text', json: 'JSON: lists, dicts, numbers', none: 'None' } as const;
  return (
    <DialogFrame title="Set metadata" submit="Set metadata" onSubmit={submit}>
      <p class="subject">{name}</p>
      <fieldset class="choices">
        <legend class="visually-hidden">What it is</legend>
        {(['text', 'json', 'none'] as const).map((kind) => (
          <label key={kind}>
            <input
              type="radio"
              name="as"
              checked={as === kind}
              onChange={() => {
                setAs(kind);
              }}
            />
            <span>{choices[kind]}</span>
          </label>
        ))}
      </fieldset>
      {as !== 'none' && (
        <div class="field">
          <label for="field-text">Metadata</label>
          <textarea id="field-text" name="text" rows={5} spellcheck={false} autoFocus />
        </div>
      )}
      <p class="hint">This replaces what is set now.</p>
    </DialogFrame>
  );
}

function RemoveDialog({ store, name }: NameProps): JSX.Element {
  const submit = async (): Promise<undefined> => {
    await perform(
      store,
      `Remove ${name}`,
      () => store.call('unregister', { name }),
      () => `Removed ${name}`,
    );
    leave(store, name);
  };
  return (
    <DialogFrame title="Remove this name?" submit="Remove 1 name" isDanger onSubmit={submit}>
      <p class="subject">{name}</p>
      <p>Its URI and metadata go with it. The object itself stays where it is.</p>
    </DialogFrame>
  );
}

function DeleteGroupDialog({ store, name }: NameProps): JSX.Element {
  const [size, setSize] = useState<GroupSize>();
  const [problem, setProblem] = useState(false);
  useEffect(() => {
    store.call<GroupSize>('size', { group: name }).then(setSize, () => {
      setProblem(true);
    });
  }, []);
  const submit = async (): Promise<undefined> => {
    await perform(
      store,
      `Delete group ${name}`,
      () => store.call('deleteGroup', { group: name }),
      () => `Deleted group ${name}, with ${sizeText(size)}`,
    );
    leave(store, name);
  };
  const total = size === undefined ? '' : ` and ${sizeText(size)}`;
  return (
    <DialogFrame
      title="Delete this group?"
      submit={`Delete the group${total}`}
      isDanger
      isDisabled={size === undefined && !problem}
      onSubmit={submit}
    >
      <p class="subject">{name}</p>
      <p role="status">
        {size === undefined && !problem && 'Counting what is in it…'}
        {problem && 'What is in it could not be counted.'}
        {size !== undefined &&
          `The group goes, and with it ${sizeText(size)}, with all their metadata. This can’t be undone.`}
      </p>
    </DialogFrame>
  );
}

function sizeText(size: GroupSize | undefined): string {
  if (size === undefined) return 'all that is in it';
  const { objects, groups, complete } = size;
  const names = objects === 1 ? '1 name' : `${objects.toLocaleString('en')} names`;
  const inner = groups === 0 ? '' : groups === 1 ? ' and 1 group' : ` and ${groups.toLocaleString('en')} groups`;
  return `${complete ? '' : 'more than '}${names}${inner}`;
}

/** Moves the selection to the parent group of a removed name. */
function leave(store: ServerStore, name: string): void {
  const looked = selection.value;
  if (looked?.store === store && (looked.name === name || looked.name.startsWith(childName(name, '')))) deselect();
  store.active.value = parentName(name);
  void relist(store, parentName(name));
}

/** Reloads a group that was just changed. */
async function relist(store: ServerStore, group: string): Promise<void> {
  try {
    await store.refresh(group);
  } catch (error) {
    logProblem(store, `List ${group}`, error);
  }
}

function ResolveDialog({ store }: ServerProps): JSX.Element {
  const [found, setFound] = useState<{ readonly name: string; readonly uri: string }>();
  const submit = async (form: FormData): Promise<boolean> => {
    const name = textIn(form, 'name');
    setFound(undefined);
    const action = () => store.call<{ readonly name: string; readonly uri: string }>('resolve', { name });
    setFound(await perform(store, `Resolve ${name}`, action, (result) => `Resolved ${result.name}: ${result.uri}`));
    return true;
  };
  return (
    <DialogFrame title="Resolve a name" submit="Resolve" isQuestion onSubmit={submit}>
      <Field
        label="Name"
        name="name"
        placeholder=":Default.example"
        hint="One without a colon in front is below the default group."
        isRequired
        hasFocus
      />
      {found !== undefined && (
        <div class="found" role="status">
          <p class="subject">{found.name}</p>
          <div class="uri-line">
            <code>{found.uri}</code>
            <CopyButton text={found.uri} what="URI" />
          </div>
          <button
            type="button"
            onClick={() => {
              dialog.value = undefined;
              void show(store, found.name);
            }}
          >
            Show it in the tree
          </button>
        </div>
      )}
    </DialogFrame>
  );
}

function ResyncDialog({ store }: ServerProps): JSX.Element {
  const submit = async (): Promise<undefined> => {
    await perform(
      store,
      'Resync',
      () => store.call('resync'),
      () => 'Resynced with its twin',
    );
    void relist(store, ROOT);
  };
  return (
    <DialogFrame title="Resync with the twin?" submit="Resync" isDanger onSubmit={submit}>
      <p class="subject">{store.description.value.address}</p>
      <p>
        It exchanges all names with the other server of its pair. Where that is a Pyro 3 server, its names replace those
        here.
      </p>
    </DialogFrame>
  );
}

function ShutdownDialog({ store }: ServerProps): JSX.Element {
  const submit = async (): Promise<undefined> => {
    const action = () => store.call<{ readonly answer: string }>('shutdown');
    await perform(store, 'Shut down', action, ({ answer }) => `Asked to shut down: ${answer}`);
  };
  return (
    <DialogFrame title="Shut this name server down?" submit="Shut down" isDanger onSubmit={submit}>
      <p class="subject">{store.description.value.address}</p>
      <p>Programs will not find each other by it until it is started again.</p>
    </DialogFrame>
  );
}
