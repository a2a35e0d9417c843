/** A guest's own process: it ends when its channel to the parent does, whatever ended the parent (M1). */
import { Socket } from 'node:net';
import { onreadOf } from '../../../io/receive-into.ts';
import { CHILD_FD } from './messages.ts';
import { GuestServer } from './server.ts';

const end = (): never => process.exit(0);
const server = new GuestServer(end);
const control = new Socket({
  fd: CHILD_FD.control,
  readable: true,
  writable: true,
  onread: onreadOf(server),
});
server.attach(control);
control.on('close', end);
control.on('end', end);
control.on('error', end);

// What gets here is a defect of the driver, or something that v86 does on a timer of its own.
process.on('uncaughtException', (error) => server.crashed(error));
process.on('unhandledRejection', (reason) => server.crashed(reason));
