/** The memory of an open image, as its processors and as nobody sees it. */
import { TransmigrateError } from '../../errors.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { AddressSpace } from './address-space.ts';
import { PageCache } from './page-cache.ts';
import { pagingOf, type PagingChoice } from './paging.ts';

/** Pages that are kept, and the address spaces of an image. It does not own the image. */
export class MachineMemory {
  readonly image: OpenedImage;
  readonly pages: PageCache;
  /** Of vCPUs that were asked for, without a choice of the user. */
  readonly #spaces = new Map<number, AddressSpace>();

  constructor(image: OpenedImage) {
    this.image = image;
    this.pages = new PageCache(image.memory);
  }

  /**
   * The memory that a vCPU sees.
   * @param vcpu its number; undefined for the lowest, or for none where the image has none
   * @throws USAGE when there is no such vCPU
   */
  space(vcpu?: number, choice?: PagingChoice): AddressSpace {
    const { vcpus, head } = this.image;
    const found = vcpu === undefined ? vcpus[0] : vcpus.find((one) => one.vcpu === vcpu);
    if (vcpu !== undefined && found === undefined) throw noVcpu(vcpu, this.image);
    if (choice !== undefined || found === undefined) return new AddressSpace(this.pages, pagingOf(head, found, choice));
    let space = this.#spaces.get(found.vcpu);
    if (space === undefined) {
      space = new AddressSpace(this.pages, pagingOf(head, found));
      this.#spaces.set(found.vcpu, space);
    }
    return space;
  }
}

function noVcpu(vcpu: number, { vcpus }: OpenedImage): TransmigrateError {
  const first = vcpus[0]?.vcpu;
  const last = vcpus.at(-1)?.vcpu;
  const has =
    first === undefined || last === undefined ? 'none' : first === last ? `only ${first}` : `${first} to ${last}`;
  return new TransmigrateError('USAGE', `The image has no vCPU ${vcpu}: it has ${has}`, {
    data: { vcpu, first: first ?? null, last: last ?? null },
    next: 'Leave --vcpu away for the first of them; `transmigrate inspect` lists all.',
  });
}
