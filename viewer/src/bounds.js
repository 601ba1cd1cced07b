// Keeps the camera where the scene was made to be seen from: near the path, and turned much as the path turns.
import { Vector3 } from "three";
import { poseFromRows } from "./path.js";

// How far off the path the camera may go: a share of the path's own extent, and of the distance to the scene.
const SHARE_OF_PATH = 0.25;
const MOST_OF_DISTANCE = 0.15;
const LEAST_OF_DISTANCE = 0.02;
// How far it may turn from the nearest direction of the path, as a share of the narrower field of view.
const SHARE_OF_VIEW = 0.3;

function forwardOf({ quaternion }) {
  return new Vector3(0, 0, -1).applyQuaternion(quaternion);
}

export class Bounds {
  constructor(poses, { camera, pivotDistance }) {
    const all = poses.length > 0 ? poses : [poseFromRows(camera.worldFromCamera)];
    this.positions = all.map((pose) => pose.position);
    this.directions = all.map(forwardOf);
    const extent = Math.max(...this.positions.map((position) => position.distanceTo(this.positions[0])));
    const most = Math.min(SHARE_OF_PATH * extent, MOST_OF_DISTANCE * pivotDistance);
    this.radius = Math.max(most, LEAST_OF_DISTANCE * pivotDistance);
    const halfViews = [camera.width / camera.focal[0], camera.height / camera.focal[1]].map((size) => Math.atan(size / 2));
    this.angle = 2 * SHARE_OF_VIEW * Math.min(...halfViews);
  }

  /** Moves and turns the camera into the bounds; returns whether it had to. */
  apply(camera) {
    const moved = this.#moveInside(camera.position);
    const forward = forwardOf(camera);
    const nearest = this.directions.reduce((best, next) => (next.dot(forward) > best.dot(forward) ? next : best));
    const angle = nearest.angleTo(forward);
    if (angle <= this.angle) return moved;
    const axis = new Vector3().crossVectors(nearest, forward).normalize();
    camera.lookAt(nearest.clone().applyAxisAngle(axis, this.angle).add(camera.position));
    return true;
  }

  #moveInside(position) {
    const distances = this.positions.map((each) => each.distanceToSquared(position));
    const nearest = this.positions[distances.indexOf(Math.min(...distances))];
    const distance = nearest.distanceTo(position);
    if (distance <= this.radius) return false;
    position.sub(nearest).multiplyScalar(this.radius / distance).add(nearest);
    return true;
  }
}
