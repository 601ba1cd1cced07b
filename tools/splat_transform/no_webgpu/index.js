// The command line of splat-transform imports these at its start. With `--gpu cpu` it never calls them.
export const globals = {};
export const create = () => {
  throw new Error("this installation has no WebGPU");
};
