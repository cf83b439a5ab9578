import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { sync as writeFileAtomic } from 'write-file-atomic';
import { ServiceError } from './request.js';

/** One thing to do. */
export type Step =
  /** Write a file, and the directories above it. */
  | { readonly write: string; readonly content: string; readonly mode: number }
  /** Remove a file or directory, if it is there. */
  | { readonly remove: string }
  /** Run a command; `mayFail` where it does if there is nothing to do. */
  | { readonly run: readonly [string, ...string[]]; readonly mayFail?: boolean };

/** What to do, in this order. */
export type Plan = readonly Step[];

/** A plan as `--dry-run` shows it: file contents as they are, commands as a shell would take them. */
export function describePlan(plan: Plan): string {
  return plan.map(describeStep).join('');
}

function describeStep(step: Step): string {
  if ('write' in step) {
    const end = step.content.endsWith('\n') ? '' : '\n';
    return `# write ${step.write} (mode ${step.mode.toString(8)}):\n${step.content}${end}# end of ${step.write}\n`;
  }
  if ('remove' in step) return `# remove ${step.remove}\n`;
  return `${step.run.map(shellWord).join(' ')}${step.mayFail === true ? '  # may fail' : ''}\n`;
}

const shellWord = (word: string): string =>
  /^[\w@%+=:,./\\-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/**
 * Does what a plan says; commands write to the terminal themselves.
 * @returns the exit status: 0, or that of the command that failed, where the plan ends
 * @throws ServiceError if a file can't be written or removed, or a command is not there
 */
export function executePlan(plan: Plan): number {
  for (const step of plan) {
    if ('run' in step) {
      const status = run(step.run);
      if (status !== 0 && step.mayFail !== true) return status;
    } else {
      change(step);
    }
  }
  return 0;
}

function run([command, ...args]: readonly [string, ...string[]]): number {
  const { error, status } = spawnSync(command, args, { stdio: 'inherit' });
  if (error !== undefined) throw new ServiceError(`${command} can't be run: ${error.message}`);
  return status ?? 1;
}

function change(step: Exclude<Step, { run: unknown }>): void {
  try {
    if ('remove' in step) {
      rmSync(step.remove, { recursive: true, force: true });
    } else {
      mkdirSync(dirname(step.write), { recursive: true });
      writeFileAtomic(step.write, step.content, { mode: step.mode });
    }
  } catch (error) {
    throw new ServiceError(`${error instanceof Error ? error.message : String(error)}; are you allowed to do this?`);
  }
}
